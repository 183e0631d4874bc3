"""A gated PixelCNN on the fixed binarization of MNIST, by maximum likelihood.

    genjax-models train configs/pixel_cnn_mnist.py --data-dir DIR

Machine and time: 253 s on one H200 GPU, shared with nine other runs.
EXPECTED: test NLL 86.07 +- 0.20 nats per example, exact on 10,000 examples. With 16 features, six layers and 6,000
steps the validation bound reached -91.99.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import BinarizedMNIST
from genjax_models.models import PixelCNN
from genjax_models.objectives import MaximumLikelihood
from genjax_models.optimizers import Adam, Cosine

STEPS = 8000

CONFIG = Config(
    model=PixelCNN(image_shape=(28, 28), features=32, layers=8),
    objective=MaximumLikelihood(),
    optimizer=Adam(learning_rate=Cosine(start=2e-3, steps=STEPS, final_fraction=0.01), clip_norm=10.0),
    data=BinarizedMNIST(),
    training=Training(num_steps=STEPS, batch_size=50, evaluate_every=1000, average=0.999),
    evaluation=Evaluation(validation_examples=1000),
)
