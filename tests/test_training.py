"""The training loop: finds what least squares finds, stops early; a killed training is no different from another."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcardio.training import fit


class Killed(Exception):
    pass


def problem(seed=0):
    """A linear model, its batches and its validation error; the least-squares weights."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((64, 3))
    y = x @ np.array([1.0, -2.0, 0.5]) + 0.01 * random.standard_normal(64)
    model = eqx.nn.Linear(3, "scalar", use_bias=False, dtype=float, key=jax.random.key(0))

    def loss(model, batch):
        return jnp.mean((jax.vmap(model)(batch[0]) - batch[1]) ** 2)

    def batches(epoch):
        order = np.random.default_rng((seed, epoch)).permutation(64)
        for some in np.split(order, 4):
            yield jnp.asarray(x[some]), jnp.asarray(y[some])

    return model, loss, batches, lambda model: float(loss(model, (x, y))), np.linalg.lstsq(x, y)[0]


def run(checkpoint=None, epochs=60, batches=None, **options):
    model, loss, usual, validate, _ = problem()
    how = {"optimiser": optax.adam(0.05), "epochs": epochs, "checkpoint": checkpoint, **options}
    return fit(model, loss, batches or usual, validate, **how)


def test_a_linear_model_finds_the_least_squares_solution():
    found = run(epochs=200)
    assert np.asarray(found.model.weight)[0] == pytest.approx(problem()[-1], abs=0.01)
    assert found.training[-1] < 1e-3 * found.training[0]
    assert len(found.validation) == 200


@pytest.mark.parametrize("at", [0, 1, 17])
def test_a_killed_training_resumes_to_the_same_model(tmp_path, at):
    def killed(epoch):
        for k, batch in enumerate(problem()[2](epoch)):
            if epoch == at and k == 2:
                raise Killed
            yield batch

    with pytest.raises(Killed):
        run(tmp_path / "training", batches=killed)
    resumed, whole = run(tmp_path / "training"), run()
    assert np.array_equal(resumed.model.weight, whole.model.weight)
    assert np.array_equal(resumed.training, whole.training)
    assert np.array_equal(resumed.validation, whole.validation)
    assert [p.name for p in tmp_path.iterdir()] == ["training"]


def test_the_best_epoch_counts_and_patience_ends_a_training():
    errors = iter([3.0, 1.0, 2.0, 2.0, 2.0, 0.0])
    model, loss, batches, _, _ = problem()
    seen = []

    def validate(model):
        seen.append(model)
        return next(errors)

    found = fit(model, loss, batches, validate, optimiser=optax.sgd(0.1), epochs=6, patience=3)
    assert len(found.validation) == 5
    assert np.array_equal(found.model.weight, seen[1].weight)


def test_another_models_checkpoint_is_refused(tmp_path):
    run(tmp_path / "training", epochs=2)
    with pytest.raises(ValueError, match=r"checkpoint = .*training: not a checkpoint of this model"):
        run(tmp_path / "training", epochs=2, optimiser=optax.sgd(0.1, momentum=0.9))
    (tmp_path / "training").write_bytes(b"torn")
    with pytest.raises(ValueError, match="not a checkpoint"):
        run(tmp_path / "training", epochs=2)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"patience": 0}])
def test_counts_out_of_range_are_named(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} = 0 epochs; allowed: a whole number >= 1"):
        run(**wrong)
