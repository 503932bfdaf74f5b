"""The benchmark: the relay and Debian's Postfix, same machine, same load, interleaved, medians and ratios.

`python -m tests.bench` (or `make bench`) prints the machine, the versions and a table, and writes them to
`bench-results/` as JSON and as a Markdown table for `docs/performance.md`. Timings are never tests.
"""
