"""Packaging: the library, Salt's two face folders, and where Salt's loader finds them."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

setup(
    name="salt-kvm",
    version="0.1.0",
    description="Salt states and modules that make a host a KVM hypervisor and keep it one",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[
        *find_packages(include=["salt_kvm", "salt_kvm.*"]),
        "salt_kvm.modules",
        "salt_kvm.states",
    ],
    package_dir={"salt_kvm.modules": "_modules", "salt_kvm.states": "_states"},
    package_data={"salt_kvm": ["py.typed"]},
    entry_points={"salt.loader": ["salt_kvm = salt_kvm.loader:dirs"]},
    install_requires=["msgspec>=0.19", "pycdlib>=1.14", "pyyaml"],
    extras_require={
        "salt": ["salt>=3008,<3009"],
        "libvirt": ["libvirt-python"],
        "test": [
            "hypothesis",
            "mypy",
            "pytest>=8",
            "pytest-salt-factories>=1.0.5",
            "pytest-xdist>=3.5",
            "ruff",
        ],
        "dev": ["pre-commit", "towncrier"],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: System :: Systems Administration",
    ],
)
