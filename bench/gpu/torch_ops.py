#!/usr/bin/env python3
"""PyTorch's times for the shapes of kernel_bench.cc: cuBLAS's bf16 products and its attention, beside
the same reading. One JSON object a line. Says so where there is no PyTorch or no GPU."""

import json
import statistics
import sys

try:
    import torch
except ImportError:
    sys.exit("no PyTorch here: nothing to compare with")
if not torch.cuda.is_available():
    sys.exit("PyTorch sees no GPU")

DEVICE = torch.cuda.get_device_name(0)
L2 = torch.cuda.get_device_properties(0).L2_cache_size


def time_ms(launch, repeats=50, rounds=7):
    times = []
    for at in range(rounds + 1):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for i in range(repeats):
            launch(i)
        end.record()
        torch.cuda.synchronize()
        if at > 0:  # the first one warms up
            times.append(begin.elapsed_time(end) / repeats)
    return statistics.median(times)


def report(kernel, shape, moved, launch, operations=0.0):
    ms = time_ms(launch)
    print(json.dumps({"device": DEVICE, "kernel": kernel, "shape": shape, "bytes": moved,
                      "us": round(ms * 1e3, 2), "gb_s": round(moved / ms * 1e-6, 1),
                      "tflop_s": round(operations / ms * 1e-9, 2)}), flush=True)


def copies(moved):
    return max(2, min(64, 3 * L2 // moved))


with torch.inference_mode():
    for outputs, columns in ((4096, 4096), (14336, 4096), (4096, 14336), (128256, 4096)):
        moved = outputs * columns * 2
        weights = [torch.randn(outputs, columns, device="cuda", dtype=torch.bfloat16) * 0.02
                   for _ in range(copies(moved))]
        for rows in (1, 4, 16, 64, 256):
            x = torch.randn(rows, columns, device="cuda", dtype=torch.bfloat16)
            report("torch matmul bf16", f"{outputs} x {columns}, {rows} rows",
                   moved + rows * (columns + outputs) * 2,
                   lambda i, x=x: torch.nn.functional.linear(x, weights[i % len(weights)]),
                   2.0 * outputs * columns * rows)
        del weights
    for sequences, rows, context in ((1, 1, 8192), (16, 1, 1024), (16, 1, 8192), (1, 2048, 2048)):
        q = torch.randn(sequences, 32, rows, 128, device="cuda", dtype=torch.bfloat16)
        k, v = (torch.randn(sequences, 8, context, 128, device="cuda", dtype=torch.bfloat16)
                for _ in range(2))
        visible = context - (rows - 1) / 2
        report("torch attention", f"{sequences} x {rows} rows, {context} tokens",
               2 * k.numel() * 2,
               lambda i: torch.nn.functional.scaled_dot_product_attention(
                   q, k, v, is_causal=rows > 1, enable_gqa=True),
               4.0 * sequences * rows * 32 * 128 * visible)
