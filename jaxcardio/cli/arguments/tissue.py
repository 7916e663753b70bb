"""Cables, sheets and slabs of tissue: velocities, activation maps, restitution, spiral waves.

Lengths are in mm, times in ms (in the model's time unit, t.u., for the Aliev-Panfilov models), diffusivities in
mm^2/ms, velocities in mm/ms = m/s. A wave needs a fine enough grid: where it has none the run says so, and what is
measured is marked with ~.

Examples:
  jaxcardio tissue cable --model TenTusscher2004 --length 20 --dx 0.1 --diffusivity 0.154 --t1 60 --out cable.h5
  jaxcardio tissue sheet --width 20 --height 10 --fibres 30 --across 0.04 --stimulus corner --animation sheet.gif
  jaxcardio tissue slab --width 10 --height 4 --depth 2 --dx 0.2 --t1 40
  jaxcardio tissue restitution --model tentusscherpanfilov --intervals 300,320,350,400,600 --prepaced 10
  jaxcardio tissue spiral --model alievpanfilov1996 --t1 300 --ablate-at 200
  jaxcardio tissue spiral --float32 --t1 1400 --ablate-at 1100
"""

from typing import Any

from .shared import Parser, add_jobs, model_arguments, model_name, ms, number, output_arguments, plain, whole

mm, diffusivity, siemens, degrees = number("mm"), number("mm^2/ms"), number("S/m"), number("degrees")


def add_arguments(parser: Parser) -> None:
    add_jobs(parser, cable=_cable, sheet=_sheet, slab=_slab, restitution=_restitution, spiral=_spiral)


def _tissue_arguments(parser: Parser) -> Any:
    parser.add_argument(
        "--model", type=model_name, default="TenTusscherPanfilov2006", help="see `jaxcardio models` (default "
        "TenTusscherPanfilov2006)",
    )  # fmt: skip
    model_arguments(parser)
    group = parser.add_argument_group("tissue")
    group.add_argument("--dx", type=mm, metavar="MM", help="between cell centres (default 0.1; Aliev-Panfilov 0.6)")
    how = group.add_mutually_exclusive_group()
    how.add_argument("--diffusivity", type=diffusivity, metavar="D", help="mm^2/ms (default 0.154; Aliev-Panfilov 1)")
    how.add_argument("--conductivity", type=siemens, metavar="S", help="instead: S/m, at 140 1/mm and 1 uF/cm^2")
    return group


def _fibre_arguments(group: Any) -> None:
    group.add_argument(
        "--fibres", type=degrees, metavar="DEG", help="angle of the fibres from x towards y, degrees (default: none)"
    )
    group.add_argument(
        "--across", type=diffusivity, metavar="D", help="diffusivity across fibres (default: a quarter of that along)"
    )


def _stimulus_arguments(parser: Parser, start: bool = True) -> Any:
    group = parser.add_argument_group("stimulus (default: 2 ms that bring V past the threshold and as far again)")
    group.add_argument("--pulse-amplitude", type=plain, metavar="A", help="pA/pF, depolarising negative")
    group.add_argument("--duration", type=ms, metavar="MS", help="of each pulse, ms (default 2)")
    if start:
        group.add_argument("--start", type=ms, default=0.0, metavar="MS", help="of the pulse, ms (default 0)")
    group.add_argument("--region", type=mm, metavar="MM", help="how far it reaches (default: a twentieth, 3 cells)")
    return group


def _run_arguments(parser: Parser, t1: bool = True) -> None:
    group = parser.add_argument_group("numerics (rush-larsen-2)")
    if t1:
        group.add_argument("--t1", type=ms, metavar="MS", help="length of the run, ms")
        group.add_argument("--save-every", type=ms, metavar="MS", help="sampling interval, ms (default 1)")
    group.add_argument("--dt", type=ms, metavar="MS", help="longest step, ms (default 0.02, or what is stable)")
    group.add_argument("--splitting", choices=("strang", "godunov"), default="strang", help="default strang")
    group.add_argument("--diffusion", choices=("explicit", "implicit"), default="explicit", help="default explicit")


def _animation_argument(parser: Parser) -> None:
    parser.add_argument("--animation", metavar="FILE", help="also write V as .gif, or as .mp4 where ffmpeg is")


def _cable(parser: Parser) -> None:
    """A wave along a cable: its velocity, its action potential."""
    group = _tissue_arguments(parser)
    group.add_argument("--length", type=mm, default=20.0, metavar="MM", help="of the cable (default 20)")
    _stimulus_arguments(parser)
    _run_arguments(parser)
    output_arguments(parser, "cable.h5")
    _animation_argument(parser)


def _sheet(parser: Parser) -> None:
    """A wave over a sheet, from an edge or a corner: activation map, local velocities."""
    group = _tissue_arguments(parser)
    group.add_argument("--width", type=mm, default=20.0, metavar="MM", help="along x (default 20)")
    group.add_argument("--height", type=mm, default=20.0, metavar="MM", help="along y (default 20)")
    _fibre_arguments(group)
    stimulus = _stimulus_arguments(parser)
    stimulus.add_argument(
        "--stimulus", choices=("edge", "corner"), default="edge", help="where (default: the left edge)"
    )
    _run_arguments(parser)
    output_arguments(parser, "sheet.h5")
    _animation_argument(parser)


def _slab(parser: Parser) -> None:
    """A wave through a slab, from a corner or a side."""
    group = _tissue_arguments(parser)
    group.add_argument("--width", type=mm, default=10.0, metavar="MM", help="along x (default 10)")
    group.add_argument("--height", type=mm, default=4.0, metavar="MM", help="along y (default 4)")
    group.add_argument("--depth", type=mm, default=2.0, metavar="MM", help="along z (default 2)")
    _fibre_arguments(group)
    stimulus = _stimulus_arguments(parser)
    stimulus.add_argument("--stimulus", choices=("edge", "corner"), default="corner", help="where (default: a corner)")
    _run_arguments(parser)
    output_arguments(parser, "slab.h5")
    _animation_argument(parser)


def _restitution(parser: Parser) -> None:
    """S1-S2 restitution of velocity and APD in a cable, and the shortest interval that conducts."""
    group = _tissue_arguments(parser)
    group.add_argument("--length", type=mm, default=10.0, metavar="MM", help="of the cable (default 10)")
    pacing = _stimulus_arguments(parser, start=False)
    pacing.add_argument(
        "--intervals", metavar="MS,MS,...", help="from the last S1 to S2, ms (default "
        "300,320,340,360,400,500,700,1000; Aliev-Panfilov 14,16,18,20,25,30,40,50)",
    )  # fmt: skip
    pacing.add_argument(
        "--cycle-length", type=ms, metavar="MS", help="of the S1, ms (default: the longest of the intervals)"
    )
    pacing.add_argument("--beats", type=whole, default=3, help="S1 stimuli (default 3)")
    pacing.add_argument("--prepaced", type=whole, default=5, help="beats of one cell alone before (default 5)")
    _run_arguments(parser, t1=False)
    output_arguments(parser, "restitution.csv")


def _spiral(parser: Parser) -> None:
    """A spiral wave by S1 and S2 at a right angle: its tips, its period; and lines of ablation that end it.

    The waves of TenTusscherPanfilov2006 are some 200 mm long. So it gets a brief action potential of 38 ms, and waves
    of 20 mm: g_Na x 0.5, g_CaL x 0, g_K1 x 3, g_Kr x 20, but for what --set sets; 30 mm, dx 0.25, dt 0.05, 1100 ms.
    """
    group = _tissue_arguments(parser)
    group.add_argument("--size", type=mm, metavar="MM", help="of the square sheet (default 30, other cells 60)")
    group.add_argument("--published", action="store_true", help="the published cell in place of the brief one")
    pacing = _stimulus_arguments(parser, start=False)
    pacing.add_argument(
        "--s2",
        type=ms,
        metavar="MS",
        help="when S2 is given, ms (default: when the first wave has left a quarter; 30 ms later of the brief cell)",
    )
    pacing.add_argument(
        "--ablate-at", type=ms, metavar="MS", help="then cells along lines from edge to edge conduct no more"
    )
    pacing.add_argument(
        "--ablation", choices=("line", "cross"), help="one along y through the tip (default; it may turn on in a half "
        "that is large enough), or one along each axis through the middle (default of the brief cell)",
    )  # fmt: skip
    _run_arguments(parser)
    output_arguments(parser, "spiral.h5")
    _animation_argument(parser)
