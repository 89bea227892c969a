"""Every relative link and every `path/to/file.rs` named in the Markdown files must exist, so that the walk through the
code stays true."""

import pathlib
import re
import subprocess
import sys

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
CODE_PATH = re.compile(r"`([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)+\.(?:rs|sql|md|mjs|sh|py|toml|json))(?::\w+)?`")

root = pathlib.Path(__file__).resolve().parent.parent
listed = subprocess.run(["git", "ls-files", "*.md"], cwd=root, check=True, capture_output=True, text=True).stdout.split()
broken = []
for name in listed:
    text = (root / name).read_text(encoding="utf-8")
    for target in LINK.findall(text):
        if "://" not in target and not target.startswith("mailto:") and not (root / name).parent.joinpath(target).exists():
            broken.append(f"{name}: the link {target} leads nowhere")
    for target in CODE_PATH.findall(text):
        if not (root / target).exists() and not (root / name).parent.joinpath(target).exists():
            broken.append(f"{name}: the file {target} does not exist")
print("\n".join(broken) or f"{len(listed)} files, every link and path exists")
sys.exit(bool(broken))
