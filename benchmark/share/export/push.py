"""`rematch export --push`: an exported folder as a repository of the Hub, through huggingface_hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from benchmark.errors import UserError


def check_login(repo: str) -> None:
    """Raise UserError where nobody is logged in, or the Hub is not to be asked: before anything is written."""
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise UserError(f"option '--push': found '{repo}', expected OWNER/NAME, a repository of the Hub")
    if constants.HF_HUB_OFFLINE:
        raise UserError("option '--push': HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it")
    if not get_token():
        raise UserError(
            "option '--push': nobody is logged in to the Hub; `hf auth login`, then the same command"
        )


def push_folder(folder: Path, files: Sequence[str], repo: str, *, private: bool) -> str:
    """Upload the files of an export, and nothing else; returns the address. The repository may be new.

    Raises UserError, in one line, for whatever the Hub answers; the folder stays as it is.
    """
    api = HfApi()
    try:
        made = api.create_repo(repo, private=private or None, exist_ok=True)
        api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            allow_patterns=list(files),
            commit_message="Exported with Rematch",
        )
    except HFValidationError as error:
        raise UserError(f"option '--push': {' '.join(str(error).split())[:200]}") from None
    except HfHubHTTPError as error:
        code = error.response.status_code
        why = (
            "this login may not write there" if code in (401, 403) else "wait a little, then the same command"
        )
        raise UserError(
            f"the Hub answered {code} for {repo}: {why}; the folder {folder.as_posix()} is whole"
        ) from None
    except Exception as error:  # whatever the network or the client raises
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(f"{repo}: the upload broke ({reason}); the same command goes on") from None
    return str(made)
