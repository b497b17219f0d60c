"""The ``salt.loader`` entry point: where Salt finds this package's modules, states and grains."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def dirs() -> dict[str, list[str]]:
    """Return the loader directories by Salt's extension type.

    Installed from a wheel, the face folders lie inside the package; in an editable install they
    are the checkout's top-level ``_modules`` and ``_states``.
    """
    return {
        # Salt looks for what resources can do beside the parent of this: in the package, always.
        "modules": list(dict.fromkeys([_face_dir("modules"), str(PACKAGE / "modules")])),
        "states": [_face_dir("states")],
        "grains": [str(PACKAGE / "grains")],
        "output": [str(PACKAGE / "output")],
        "resources": [str(PACKAGE / "resources")],
    }


def _face_dir(kind: str) -> str:
    packaged = PACKAGE / kind
    return str(packaged if packaged.is_dir() else PACKAGE.parent / f"_{kind}")
