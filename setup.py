"""What pyproject.toml cannot say: the configs at the top ship inside the wheel, as mec_transfer.configs."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["mec_transfer*", "pretrain*"]), "mec_transfer.configs"],
    package_dir={"mec_transfer.configs": "configs"},
    package_data={
        "mec_transfer.archives": ["*.yaml"],
        "mec_transfer.configs": ["**/*.yaml", "tracking/mmtrack/*.py"],
        "mec_transfer.models": ["*.yaml"],
        "mec_transfer.report": ["page.html", "page.css", "page.js"],
        "mec_transfer.results": ["*.yaml"],
        "mec_transfer.suite": ["*.yaml"],
    },
)
