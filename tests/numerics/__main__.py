"""The table of numerics: worst errors against many digits or an independent solver; exit code 1 where one is too large.

Run by ``make numerics``; ``--cases`` scales the numbers of cases.
"""

from __future__ import annotations

import argparse
import sys
import time

from numerics.rows import ROWS


def main() -> int:
    parser = argparse.ArgumentParser(prog="numerics", description=__doc__)
    parser.add_argument("--cases", type=float, default=1.0, help="factor on the number of cases of every row")
    factor = parser.parse_args().cases
    failed = 0
    print(
        "| what | against | cases | measured | worst | allowed | remark | seconds |\n|---|---|---|---|---|---|---|---|"
    )
    for cases, make in ROWS:
        start = time.perf_counter()
        row = make(max(1, round(factor * cases)))
        failed += not row.holds
        print(
            f"| {row.what} | {row.judge} | {row.cases:,} | {row.measure} | {row.worst:.1e} | {row.allowed:.0e} "
            f"| {row.remark}{'' if row.holds else ' **VIOLATED**'} | {time.perf_counter() - start:.0f} |",
            flush=True,
        )
        for violation in row.violations[:20]:
            print(f"  violation: {violation}", file=sys.stderr)
    print(f"{failed} rows violated" if failed else "no violation")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
