"""The commands of `outcry`, one file each; `api.cli` names them and loads them when they run."""
