#!/usr/bin/env python3
"""Takes the few inputs of a fuzzing run into the corpus that reach most of what it does not reach yet.

  pick_corpus.py FUZZ_BINARY NEW CORPUS [--most 32] [--bytes 700]

NEW: the folder that libFuzzer wrote to. Again and again the input that adds the most edges of the
control flow (of equal ones the smallest) is copied to CORPUS as found_NN, until `--most` are there.
Edges come from libFuzzer's own merge; how often each is taken is not counted.
"""
import argparse
import pathlib
import shutil
import subprocess
import tempfile


def edges_of(binary, corpus, inputs):
    """The edges that the corpus reaches, and those of each input."""
    with tempfile.TemporaryDirectory() as work:
        control = pathlib.Path(work) / "control"
        copy = pathlib.Path(work) / "corpus"
        shutil.copytree(corpus, copy)
        subprocess.run([binary, "-merge=1", "-use_counters=0", "-timeout=25", "-rss_limit_mb=2048",
                        f"-merge_control_file={control}", copy, inputs], check=True, stderr=subprocess.DEVNULL)
        # Two counts, that many file names, then lines such as "COV 3 17 18 21".
        lines = control.read_text(encoding="utf-8").split("\n")
    count, of_corpus = int(lines[0]), int(lines[1])
    names = lines[2:2 + count]
    reached, new = set(), {}
    for line in lines[2 + count:]:
        fields = line.split()
        if not fields or fields[0] != "COV":
            continue
        index, edges = int(fields[1]), set(map(int, fields[2:]))
        if index < of_corpus:
            reached |= edges
        else:
            new[pathlib.Path(names[index]).name] = edges
    return reached, new


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("new", type=pathlib.Path)
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("--most", type=int, default=32)
    parser.add_argument("--bytes", type=int, default=700, help="of one input")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as small:
        for path in options.new.iterdir():
            if path.stat().st_size <= options.bytes:
                shutil.copy(path, small)
        reached, new = edges_of(options.binary, options.corpus, small)
        before = len(reached)
        size = {name: (pathlib.Path(small) / name).stat().st_size for name in new}
        number = 0
        while number < options.most and new:
            best = max(new, key=lambda name: (len(new[name] - reached), -size[name]))
            if not new[best] - reached:
                break
            reached |= new.pop(best)
            while (options.corpus / f"found_{number:02}").exists():
                number += 1
            shutil.copy(pathlib.Path(small) / best, options.corpus / f"found_{number:02}")
            number += 1
    print(f"{options.corpus.name}: {before} edges, now {len(reached)}")


if __name__ == "__main__":
    main()
