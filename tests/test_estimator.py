"""The estimator of scikit-learn."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from genjax_models.estimator import GenerativeModel


@parametrize_with_checks([GenerativeModel(num_steps=3, batch_size=8, num_samples=5)])
def test_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)
