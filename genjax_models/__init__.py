"""A functional zoo of directed deep generative models for JAX.

models         p(x, z) and q(z | x) as pure functions on one example
objectives     losses on models: bounds and wake-sleep
train          the train-step factory, and a whole run as one pure function
evaluation     log p(x), by importance weighting and exactly
data           digits, MNIST, one's own arrays
config         configurations as pytrees
core           the contract between all of these
"""

__version__ = "0.1.0"
