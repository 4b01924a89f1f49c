import sys
from pathlib import Path

FOLDER = Path(__file__).parent
INVOICES = [sys.executable, FOLDER / "invoices.py"]


def written(path, count):
    path.write_text("".join(f"customer {i % 10},{i}\n" for i in range(count)))
    return path


def test_a_thousand_invoices_stay_within_their_budget(within_budget, tmp_path):
    with written(tmp_path / "invoices.csv", 1000).open() as invoices:
        printed = within_budget(FOLDER / "sntrace.toml", INVOICES, invoices)
    assert printed.startswith("customer 0 49500\n")


def test_an_invoice_needs_few_allocations(allocations, tmp_path):
    """By the difference of two runs: what the interpreter needs to begin and to end is in both."""
    needed = []
    for count in (1000, 2000):
        with written(tmp_path / "invoices.csv", count).open() as invoices:
            needed.append(allocations(INVOICES, invoices))
    assert needed[1] - needed[0] <= 10 * 1000
