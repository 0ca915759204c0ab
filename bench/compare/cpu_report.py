"""bench/compare/cpu.md: the tables between its two marks are made from bench/results/cpu_*.json."""
import glob
import json
import os

BEGIN = "<!-- tables: begin (run_cpu.py writes them) -->"
END = "<!-- tables: end -->"
TITLES = {"prefill": "prefill", "decode": "decode", "batch": "sequences together"}


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def ratio(entry):
    return f"**{entry['median']:.2f}x** ({entry['range'][0]:.2f} to {entry['range'][1]:.2f})"


def table(result):
    peers = [name for name in result["versions"] if name != "weft"]
    head = ["", "threads", "Weft"]
    for peer in peers:
        head += [peer, f"Weft / {peer}"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for metric, title in TITLES.items():
        if metric not in result["runs"][0]["tok_s"]["weft"]:
            continue
        size = {"prefill": result["prefill"], "decode": result["decode"],
                "batch": result["sequences"]}[metric]
        label = f"{size} {title}" if metric == "batch" else f"{title} {size}"
        for run in result["runs"]:
            cells = [label, str(run["threads"]), number(run["tok_s"]["weft"][metric]["median"])]
            for peer in peers:
                cells += [number(run["tok_s"][peer][metric]["median"]),
                          ratio(run["ratio"][peer][metric])]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def thread_lines(result):
    """What more threads bring over one, where one was measured."""
    runs = {run["threads"]: run["tok_s"] for run in result["runs"]}
    one = runs.pop(1, {})
    lines = []
    for threads, more in runs.items() if one else ():
        gains = [f"{side}: " + ", ".join(
            f"{metric} {more[side][metric]['median'] / one[side][metric]['median']:.2f}x"
            for metric in one[side]) for side in one]
        lines.append(f"- {threads} threads over one, medians: " + "; ".join(gains))
    return lines


def run_line(run):
    text = (f"- {run['threads']} thread{'s' if run['threads'] > 1 else ''}: read bandwidth "
            f"{run['read_gb_s']['median']} GB/s ({run['read_gb_s']['range'][0]} to "
            f"{run['read_gb_s']['range'][1]})")
    if "decode_of_bandwidth" in run:
        share = run["decode_of_bandwidth"]
        text += (f"; decoding streams {100 * share['median']:.0f} % of it "
                 f"({100 * share['range'][0]:.0f} to {100 * share['range'][1]:.0f} %)")
    text += f"; peak RSS {run['peak_rss_bytes'] / 1e6:,.0f} MB"
    if run["threads"] > 1 and "fork_joins" in run:
        text += "; fork-joins a step: " + ", ".join(
            f"{metric} {count:.0f}" for metric, count in run["fork_joins"].items())
    return text


def section(path):
    with open(path, encoding="utf-8") as f:
        result = json.load(f)
    name = os.path.basename(path).removeprefix("cpu_").removesuffix(".json")
    isa = result["runs"][0]["isa"]
    lines = [f"### {name}, {isa}", ""] + table(result) + [""]
    lines += [run_line(run) for run in result["runs"]] + thread_lines(result)
    machine = result["machine"]
    lines += [f"- file {result['file_bytes'] / 1e6:,.0f} MB, {result['runs'][0]['weights_bytes'] / 1e6:,.0f}"
              " MB of weights read a token; " +
              "; ".join(f"{k} {v}" for k, v in result["versions"].items()) +
              f"; ik_llama.cpp with {result['ik_options']}; {machine['cpu']}, {machine['cpus']} cores,"
              f" load {machine['load_average_at_end'][0]} at the end",
              f"- `{result['command']}`", ""]
    return lines


def kernel_lines(path):
    with open(path, encoding="utf-8") as f:
        result = json.load(f)
    lines = ["### Variants of kernels", "",
             "The first of a group is in use; a ratio above 1 would beat it. Best of short runs by turns.", "",
             "| group | variant | | ratio |", "|---|---|---|---|"]
    for variant in result["variants"]:
        value = f"{variant['value']:.2f} us" if variant["unit"] == "us" else (
            f"{variant['value']:.1f} {variant['unit']}")
        ratio_text = "in use" if variant["used"] else f"{variant['ratio']:.2f}"
        lines.append(f"| {variant['group']} | {variant['name']} | {value} | {ratio_text} |")
    if result["instructions"]:
        lines += ["", "### Instructions", "",
                  "By `valgrind --tool=callgrind`, which knows no AVX-512: of the avx2 level. Products of"
                  " 256 x 1536.", "", "| | instructions | multiply-adds an instruction |", "|---|---|---|"]
        lines += [f"| {entry['name']} | {entry['instructions']:,} | {entry['mac_per_instruction']} |"
                  for entry in result["instructions"]]
    return lines + ["", f"- weft {result['commit']}; {result['machine']['cpu']}", f"- `{result['command']}`", ""]


def write_report(folder, report):
    """Replaces what stands between the marks of `report`, from the results in `folder`."""
    with open(report, encoding="utf-8") as f:
        text = f.read()
    begin = text.index(BEGIN) + len(BEGIN)
    end = text.index(END)
    lines = []
    for path in sorted(glob.glob(os.path.join(folder, "cpu_*.json"))):
        lines += section(path)
    kernels = os.path.join(folder, "kernels.json")
    if os.path.exists(kernels):
        lines += kernel_lines(kernels)
    with open(report, "w", encoding="utf-8") as f:
        f.write(text[:begin] + "\n\n" + "\n".join(lines) + "\n" + text[end:])
