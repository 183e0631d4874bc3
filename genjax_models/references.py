"""What to cite: the works that models, objectives, optimizers and data name, as BibTeX."""

import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from genjax_models.errors import ConfigError


class Work(NamedTuple):
    """A published work."""

    kind: str  # of BibTeX: article, inproceedings, book, phdthesis, techreport, misc
    key: str
    author: str
    title: str
    year: int
    where: tuple[tuple[str, str], ...]  # BibTeX's fields that say where it appeared

    def bibtex(self) -> str:
        """The entry, in ASCII."""
        fields = [("author", self.author), ("title", f"{{{self.title}}}"), *self.where, ("year", str(self.year))]
        width = max(len(name) for name, _ in fields)
        lines = [f"  {name:{width}} = {{{value}}}," for name, value in fields]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])


def _article(key: str, author: str, title: str, year: int, journal: str, volume: str = "", pages: str = "") -> Work:
    where = (("journal", journal), ("volume", volume), ("pages", pages))
    return Work("article", key, author, title, year, tuple((name, value) for name, value in where if value))


def _paper(key: str, author: str, title: str, year: int, meeting: str) -> Work:
    return Work("inproceedings", key, author, title, year, (("booktitle", meeting),))


def _preprint(key: str, author: str, title: str, year: int, number: str) -> Work:
    return Work("misc", key, author, title, year, (("eprint", number), ("archiveprefix", "arXiv")))


NIPS = "Advances in Neural Information Processing Systems"
ICML = "International Conference on Machine Learning"
ICLR = "International Conference on Learning Representations"
AISTATS = "International Conference on Artificial Intelligence and Statistics"

# By what `citation` calls them.
WORKS = {
    "Alpaydin and Kaynak 1998": Work(
        "misc",
        "alpaydin1998optical",
        "Alpaydin, Ethem and Kaynak, Cenk",
        "Optical Recognition of Handwritten Digits",
        1998,
        (("howpublished", "UCI Machine Learning Repository"),),
    ),
    "Bengio, Léonard and Courville 2013": _preprint(
        "bengio2013estimating",
        r"Bengio, Yoshua and L{\'e}onard, Nicholas and Courville, Aaron",
        "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation",
        2013,
        "1308.3432",
    ),
    "Bornschein and Bengio 2015": _paper(
        "bornschein2015reweighted", r"Bornschein, J{\"o}rg and Bengio, Yoshua", "Reweighted Wake-Sleep", 2015, ICLR
    ),
    "Bornschein, Shabanian, Fischer and Bengio 2016": _paper(
        "bornschein2016bidirectional",
        r"Bornschein, J{\"o}rg and Shabanian, Samira and Fischer, Asja and Bengio, Yoshua",
        "Bidirectional Helmholtz Machines",
        2016,
        ICML,
    ),
    "Boulanger-Lewandowski, Bengio and Vincent 2012": _paper(
        "boulanger2012modeling",
        "Boulanger-Lewandowski, Nicolas and Bengio, Yoshua and Vincent, Pascal",
        "Modeling Temporal Dependencies in High-Dimensional Sequences: Application to Polyphonic Music Generation and "
        "Transcription",
        2012,
        ICML,
    ),
    "Burda, Grosse and Salakhutdinov 2015": _paper(
        "burda2016importance",
        "Burda, Yuri and Grosse, Roger and Salakhutdinov, Ruslan",
        "Importance Weighted Autoencoders",
        2016,
        ICLR,
    ),
    "Chung, Kastner, Dinh, Goel, Courville and Bengio 2015": _paper(
        "chung2015recurrent",
        "Chung, Junyoung and Kastner, Kyle and Dinh, Laurent and Goel, Kratarth and Courville, Aaron and "
        "Bengio, Yoshua",
        "A Recurrent Latent Variable Model for Sequential Data",
        2015,
        NIPS,
    ),
    "Dayan, Hinton, Neal and Zemel 1995": _article(
        "dayan1995helmholtz",
        "Dayan, Peter and Hinton, Geoffrey E. and Neal, Radford M. and Zemel, Richard S.",
        "The Helmholtz Machine",
        1995,
        "Neural Computation",
        "7",
        "889--904",
    ),
    "Dilokthanakul et al. 2016": _preprint(
        "dilokthanakul2016deep",
        "Dilokthanakul, Nat and Mediano, Pedro A. M. and Garnelo, Marta and Lee, Matthew C. H. and Salimbeni, Hugh and "
        "Arulkumaran, Kai and Shanahan, Murray",
        "Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders",
        2016,
        "1611.02648",
    ),
    "Dinh, Krueger and Bengio 2014": _preprint(
        "dinh2014nice",
        "Dinh, Laurent and Krueger, David and Bengio, Yoshua",
        "NICE: Non-linear Independent Components Estimation",
        2014,
        "1410.8516",
    ),
    "Dinh, Sohl-Dickstein and Bengio 2017": _paper(
        "dinh2017density",
        "Dinh, Laurent and Sohl-Dickstein, Jascha and Bengio, Samy",
        "Density Estimation Using Real NVP",
        2017,
        ICLR,
    ),
    "Dong, Mnih and Tucker 2020": _paper(
        "dong2020disarm",
        "Dong, Zhe and Mnih, Andriy and Tucker, George",
        "DisARM: An Antithetic Gradient Estimator for Binary Latent Variables",
        2020,
        NIPS,
    ),
    "Dosovitskiy, Springenberg and Brox 2015": _paper(
        "dosovitskiy2015learning",
        "Dosovitskiy, Alexey and Springenberg, Jost Tobias and Brox, Thomas",
        "Learning to Generate Chairs with Convolutional Neural Networks",
        2015,
        "Conference on Computer Vision and Pattern Recognition",
    ),
    "Durkan, Bekasov, Murray and Papamakarios 2019": _paper(
        "durkan2019neural",
        "Durkan, Conor and Bekasov, Artur and Murray, Iain and Papamakarios, George",
        "Neural Spline Flows",
        2019,
        NIPS,
    ),
    "Frey 1998": Work(
        "book",
        "frey1998graphical",
        "Frey, Brendan J.",
        "Graphical Models for Machine Learning and Digital Communication",
        1998,
        (("publisher", "MIT Press"),),
    ),
    "Frey, Hinton and Dayan 1996": _paper(
        "frey1996wakesleep",
        "Frey, Brendan J. and Hinton, Geoffrey E. and Dayan, Peter",
        "Does the Wake-Sleep Algorithm Produce Good Density Estimators?",
        1996,
        NIPS,
    ),
    "Germain, Gregor, Murray and Larochelle 2015": _paper(
        "germain2015made",
        "Germain, Mathieu and Gregor, Karol and Murray, Iain and Larochelle, Hugo",
        "MADE: Masked Autoencoder for Distribution Estimation",
        2015,
        ICML,
    ),
    "Goodfellow et al. 2014": _paper(
        "goodfellow2014generative",
        "Goodfellow, Ian and Pouget-Abadie, Jean and Mirza, Mehdi and Xu, Bing and Warde-Farley, David and Ozair, "
        "Sherjil and Courville, Aaron and Bengio, Yoshua",
        "Generative Adversarial Nets",
        2014,
        NIPS,
    ),
    "Goodfellow, Bengio and Courville 2016": Work(
        "book",
        "goodfellow2016deep",
        "Goodfellow, Ian and Bengio, Yoshua and Courville, Aaron",
        "Deep Learning",
        2016,
        (("publisher", "MIT Press"),),
    ),
    "Grathwohl, Choi, Wu, Roeder and Duvenaud 2018": _paper(
        "grathwohl2018backpropagation",
        "Grathwohl, Will and Choi, Dami and Wu, Yuhuai and Roeder, Geoffrey and Duvenaud, David",
        "Backpropagation through the Void: Optimizing Control Variates for Black-Box Gradient Estimation",
        2018,
        ICLR,
    ),
    "Graves 2013": _preprint(
        "graves2013generating", "Graves, Alex", "Generating Sequences with Recurrent Neural Networks", 2013, "1308.0850"
    ),
    "Gregor, Danihelka, Graves, Rezende and Wierstra 2015": _paper(
        "gregor2015draw",
        "Gregor, Karol and Danihelka, Ivo and Graves, Alex and Rezende, Danilo Jimenez and Wierstra, Daan",
        "DRAW: A Recurrent Neural Network for Image Generation",
        2015,
        ICML,
    ),
    "Gregor, Danihelka, Mnih, Blundell and Wierstra 2014": _paper(
        "gregor2014deep",
        "Gregor, Karol and Danihelka, Ivo and Mnih, Andriy and Blundell, Charles and Wierstra, Daan",
        "Deep AutoRegressive Networks",
        2014,
        ICML,
    ),
    "Gu, Levine, Sutskever and Mnih 2016": _paper(
        "gu2016muprop",
        "Gu, Shixiang and Levine, Sergey and Sutskever, Ilya and Mnih, Andriy",
        "MuProp: Unbiased Backpropagation for Stochastic Neural Networks",
        2016,
        ICLR,
    ),
    "Gulrajani et al. 2017": _paper(
        "gulrajani2017improved",
        "Gulrajani, Ishaan and Ahmed, Faruk and Arjovsky, Martin and Dumoulin, Vincent and Courville, Aaron",
        "Improved Training of Wasserstein GANs",
        2017,
        NIPS,
    ),
    "He et al. 2016": _paper(
        "he2016deep",
        "He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian",
        "Deep Residual Learning for Image Recognition",
        2016,
        "Conference on Computer Vision and Pattern Recognition",
    ),
    "Hinton, Dayan, Frey and Neal 1995": _article(
        "hinton1995wakesleep",
        "Hinton, Geoffrey E. and Dayan, Peter and Frey, Brendan J. and Neal, Radford M.",
        "The ``Wake-Sleep'' Algorithm for Unsupervised Neural Networks",
        1995,
        "Science",
        "268",
        "1158--1161",
    ),
    "Jang, Gu and Poole 2017": _paper(
        "jang2017categorical",
        "Jang, Eric and Gu, Shixiang and Poole, Ben",
        "Categorical Reparameterization with Gumbel-Softmax",
        2017,
        ICLR,
    ),
    "Kingma and Ba 2015": _paper(
        "kingma2015adam",
        "Kingma, Diederik P. and Ba, Jimmy",
        "Adam: A Method for Stochastic Optimization",
        2015,
        ICLR,
    ),
    "Kingma and Welling 2014": _paper(
        "kingma2014auto", "Kingma, Diederik P. and Welling, Max", "Auto-Encoding Variational Bayes", 2014, ICLR
    ),
    "Kingma and Welling 2019": _article(
        "kingma2019introduction",
        "Kingma, Diederik P. and Welling, Max",
        "An Introduction to Variational Autoencoders",
        2019,
        "Foundations and Trends in Machine Learning",
        "12",
        "307--392",
    ),
    "Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling 2016": _paper(
        "kingma2016improved",
        "Kingma, Diederik P. and Salimans, Tim and Jozefowicz, Rafal and Chen, Xi and Sutskever, Ilya and Welling, Max",
        "Improved Variational Inference with Inverse Autoregressive Flow",
        2016,
        NIPS,
    ),
    "Larochelle and Murray 2011": _paper(
        "larochelle2011neural",
        "Larochelle, Hugo and Murray, Iain",
        "The Neural Autoregressive Distribution Estimator",
        2011,
        AISTATS,
    ),
    "LeCun, Bottou, Bengio and Haffner 1998": _article(
        "lecun1998gradient",
        r"LeCun, Yann and Bottou, L{\'e}on and Bengio, Yoshua and Haffner, Patrick",
        "Gradient-Based Learning Applied to Document Recognition",
        1998,
        "Proceedings of the IEEE",
        "86",
        "2278--2324",
    ),
    "Li and Turner 2016": _paper(
        "li2016renyi",
        "Li, Yingzhen and Turner, Richard E.",
        r"R{\'e}nyi Divergence Variational Inference",
        2016,
        NIPS,
    ),
    "Li, Swersky and Zemel 2015": _paper(
        "li2015generative",
        "Li, Yujia and Swersky, Kevin and Zemel, Richard",
        "Generative Moment Matching Networks",
        2015,
        ICML,
    ),
    "Maddison, Lawson, Tucker, Heess, Norouzi, Mnih, Doucet and Teh 2017": _paper(
        "maddison2017filtering",
        "Maddison, Chris J. and Lawson, Dieterich and Tucker, George and Heess, Nicolas and Norouzi, Mohammad and "
        "Mnih, Andriy and Doucet, Arnaud and Teh, Yee Whye",
        "Filtering Variational Objectives",
        2017,
        NIPS,
    ),
    "Maddison, Mnih and Teh 2017": _paper(
        "maddison2017concrete",
        "Maddison, Chris J. and Mnih, Andriy and Teh, Yee Whye",
        "The Concrete Distribution: A Continuous Relaxation of Discrete Random Variables",
        2017,
        ICLR,
    ),
    "Masrani, Le and Wood 2019": _paper(
        "masrani2019thermodynamic",
        "Masrani, Vaden and Le, Tuan Anh and Wood, Frank",
        "The Thermodynamic Variational Objective",
        2019,
        NIPS,
    ),
    "Mnih and Gregor 2014": _paper(
        "mnih2014neural",
        "Mnih, Andriy and Gregor, Karol",
        "Neural Variational Inference and Learning in Belief Networks",
        2014,
        ICML,
    ),
    "Mnih and Rezende 2016": _paper(
        "mnih2016variational",
        "Mnih, Andriy and Rezende, Danilo Jimenez",
        "Variational Inference for Monte Carlo Objectives",
        2016,
        ICML,
    ),
    "Neal 1992": _article(
        "neal1992connectionist",
        "Neal, Radford M.",
        "Connectionist Learning of Belief Networks",
        1992,
        "Artificial Intelligence",
        "56",
        "71--113",
    ),
    "Nene, Nayar and Murase 1996": Work(
        "techreport",
        "nene1996coil20",
        "Nene, Sameer A. and Nayar, Shree K. and Murase, Hiroshi",
        "Columbia Object Image Library (COIL-20)",
        1996,
        (("institution", "Columbia University"), ("number", "CUCS-005-96")),
    ),
    "Nowozin 2018": _paper(
        "nowozin2018debiasing",
        "Nowozin, Sebastian",
        "Debiasing Evidence Approximations: On Importance-Weighted Autoencoders and Jackknife Variational Inference",
        2018,
        ICLR,
    ),
    "Papamakarios, Pavlakou and Murray 2017": _paper(
        "papamakarios2017masked",
        "Papamakarios, George and Pavlakou, Theo and Murray, Iain",
        "Masked Autoregressive Flow for Density Estimation",
        2017,
        NIPS,
    ),
    "Radford, Metz and Chintala 2016": _paper(
        "radford2016unsupervised",
        "Radford, Alec and Metz, Luke and Chintala, Soumith",
        "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
        2016,
        ICLR,
    ),
    "Rainforth et al. 2018": _paper(
        "rainforth2018tighter",
        "Rainforth, Tom and Kosiorek, Adam R. and Le, Tuan Anh and Maddison, Chris J. and Igl, Maximilian and Wood, "
        "Frank and Teh, Yee Whye",
        "Tighter Variational Bounds are Not Necessarily Better",
        2018,
        ICML,
    ),
    "Rezende, Mohamed and Wierstra 2014": _paper(
        "rezende2014stochastic",
        "Rezende, Danilo Jimenez and Mohamed, Shakir and Wierstra, Daan",
        "Stochastic Backpropagation and Approximate Inference in Deep Generative Models",
        2014,
        ICML,
    ),
    "Roeder, Wu and Duvenaud 2017": _paper(
        "roeder2017sticking",
        "Roeder, Geoffrey and Wu, Yuhuai and Duvenaud, David",
        "Sticking the Landing: Simple, Lower-Variance Gradient Estimators for Variational Inference",
        2017,
        NIPS,
    ),
    "Salimans, Karpathy, Chen and Kingma 2017": _paper(
        "salimans2017pixelcnn",
        "Salimans, Tim and Karpathy, Andrej and Chen, Xi and Kingma, Diederik P.",
        "PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other Modifications",
        2017,
        ICLR,
    ),
    "Saul, Jaakkola and Jordan 1996": _article(
        "saul1996mean",
        "Saul, Lawrence K. and Jaakkola, Tommi and Jordan, Michael I.",
        "Mean Field Theory for Sigmoid Belief Networks",
        1996,
        "Journal of Artificial Intelligence Research",
        "4",
        "61--76",
    ),
    "Sønderby et al. 2016": _paper(
        "sonderby2016ladder",
        r"S{\o}nderby, Casper Kaae and Raiko, Tapani and Maal{\o}e, Lars and S{\o}nderby, S{\o}ren Kaae and "
        "Winther, Ole",
        "Ladder Variational Autoencoders",
        2016,
        NIPS,
    ),
    "Tomczak and Welling 2018": _paper(
        "tomczak2018vae", "Tomczak, Jakub M. and Welling, Max", "VAE with a VampPrior", 2018, AISTATS
    ),
    "Tucker, Lawson, Gu and Maddison 2019": _paper(
        "tucker2019doubly",
        "Tucker, George and Lawson, Dieterich and Gu, Shixiang and Maddison, Chris J.",
        "Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives",
        2019,
        ICLR,
    ),
    "Tucker, Mnih, Maddison, Lawson and Sohl-Dickstein 2017": _paper(
        "tucker2017rebar",
        "Tucker, George and Mnih, Andriy and Maddison, Chris J. and Lawson, Dieterich and Sohl-Dickstein, Jascha",
        "REBAR: Low-Variance, Unbiased Gradient Estimates for Discrete Latent Variable Models",
        2017,
        NIPS,
    ),
    "Uria, Murray and Larochelle 2013": _paper(
        "uria2013rnade",
        "Uria, Benigno and Murray, Iain and Larochelle, Hugo",
        "RNADE: The Real-Valued Neural Autoregressive Density-Estimator",
        2013,
        NIPS,
    ),
    "Uria, Murray and Larochelle 2014": _paper(
        "uria2014deep",
        "Uria, Benigno and Murray, Iain and Larochelle, Hugo",
        "A Deep and Tractable Density Estimator",
        2014,
        ICML,
    ),
    "Williams 1992": _article(
        "williams1992simple",
        "Williams, Ronald J.",
        "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning",
        1992,
        "Machine Learning",
        "8",
        "229--256",
    ),
    "Yin and Zhou 2019": _paper(
        "yin2019arm",
        "Yin, Mingzhang and Zhou, Mingyuan",
        "ARM: Augment-REINFORCE-Merge Gradient for Stochastic Binary Networks",
        2019,
        ICLR,
    ),
    "van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves and Kavukcuoglu 2016": _paper(
        "oord2016conditional",
        r"van den Oord, A{\"a}ron and Kalchbrenner, Nal and Vinyals, Oriol and Espeholt, Lasse and Graves, Alex and "
        "Kavukcuoglu, Koray",
        "Conditional Image Generation with PixelCNN Decoders",
        2016,
        NIPS,
    ),
}


def works(citation: str) -> list[Work]:
    """The works of a `citation`, such as "Neal 1992; Saul, Jaakkola and Jordan 1996, equation 19".

    Raises:
        ConfigError: one that is not in `WORKS`.
    """
    found = []
    for part in filter(None, (part.strip() for part in citation.split(";"))):
        named = [work for phrase, work in WORKS.items() if re.search(rf"(?<!\w){re.escape(phrase)}\b", part)]
        if not named:
            raise ConfigError(f"citation: got {part!r}, which no work of genjax_models.references is called.")
        found += named
    return found


def cited(used: Any) -> Iterator[str]:
    """The citations of a configuration and of all parts of it; or of classes."""
    if isinstance(used, (tuple, list)):
        for part in used:
            yield from cited(part)
    elif isinstance(citation := getattr(used, "citation", None), str):
        yield citation
    if dataclasses.is_dataclass(used) and not isinstance(used, type):
        for field in dataclasses.fields(used):
            yield from cited(getattr(used, field.name))


def bibtex(citations: Iterable[str]) -> str:
    """The works of some citations as BibTeX, each once, in order of their keys.

    Example:
        >>> print(bibtex(["Neal 1992"]).splitlines()[0])
        @article{neal1992connectionist,
    """
    found = {work.key: work for citation in citations for work in works(citation)}
    return "\n\n".join(found[key].bibtex() for key in sorted(found))
