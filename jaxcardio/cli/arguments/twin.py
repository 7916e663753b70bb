"""The digital twin of a recorded cell: its parameters, their uncertainty, its beats and its drug response.

RECORDING.h5 holds a voltage clamp: datasets `command` (attribute unit: mV) and `current` (unit: pA/pF, or pA with
capacitance_pF), attributes sampling_rate_Hz and temperature_K. A group `check` in it, laid out alike, is a second
recording of the same cell that is not fitted, but predicted. A network that reads parameters off this very command is
trained on simulated cells (a minute or two; --network keeps it), and its guess is refined by Levenberg-Marquardt
through the simulator. Parameters are relative to the Kernik-Clancy cell, and the prior is +- spread about it: where no
such cell gives the recorded current the twin says so, and is not to be believed.

Examples:
  jaxcardio twin --protocol clamp.json
  jaxcardio twin --example recording.h5
  jaxcardio twin recording.h5 --out twin.h5
  jaxcardio twin lab.h5 --group cell_3 --temperature 298 --spread 0.4 --network steps.net --out cell_3.h5
"""

from .shared import Parser, kelvin, nM, output_arguments, plain, whole

DOSES = (0.0, 10.0, 25.0, 50.0, 100.0)


def add_arguments(parser: Parser) -> None:
    parser.add_argument("recording", nargs="?", metavar="RECORDING.h5", help="what to make a twin of")
    parser.add_argument("--example", metavar="FILE.h5", help="write an example recording there, and do nothing else")
    parser.add_argument(
        "--protocol", metavar="FILE.json", help="write the designed command, for an amplifier's operator"
    )
    parser.add_argument("--group", default="/", metavar="NAME", help="of the recording in its file (default: its root)")
    parser.add_argument("--check", metavar="FILE.h5", help="a second recording (default: the group `check`, if any)")
    parser.add_argument("--temperature", type=kelvin, metavar="K", help="of the bath, if the file does not say")
    parser.add_argument("--capacitance", type=plain, metavar="PF", help="of the cell, if the file does not say")
    fit = parser.add_argument_group("prior, network and fit")
    fit.add_argument("--spread", type=plain, default=0.2, help="the prior: parameters within 1 +- spread (default 0.2)")
    fit.add_argument("--cells", type=whole, default=10_000, help="simulated to train the network (default 10000)")
    fit.add_argument("--epochs", type=whole, default=40, help="times that the network sees each (default 40)")
    fit.add_argument("--network", metavar="FILE", help="use the network in FILE, or train it and write it there")
    fit.add_argument("--train", action="store_true", help="train the network of --network anew")
    fit.add_argument("--starts", type=whole, default=4, help="fits at most, if none fits (default 4)")
    fit.add_argument("--seed", type=whole, default=0, help="of training, starts and draws (default 0)")
    drug = parser.add_argument_group("beats and drug")
    drug.add_argument("--drug", default="E-4031", help="default E-4031")
    drug.add_argument("--doses", type=nM, nargs="+", default=list(DOSES), metavar="NM", help="nM, ascending")
    drug.add_argument("--draws", type=whole, default=200, help="cells drawn from the posterior (default 200)")
    output_arguments(parser, "twin.h5")
