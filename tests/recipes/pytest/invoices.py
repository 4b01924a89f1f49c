"""Prints the sum of each customer's invoices: lines of CUSTOMER,AMOUNT on standard input."""

import sys


def sums(lines):
    totals = {}
    for line in lines:
        customer, amount = line.rstrip("\n").split(",")
        totals[customer] = totals.get(customer, 0) + int(amount)
    return totals


if __name__ == "__main__":
    for customer, total in sorted(sums(sys.stdin).items()):
        print(customer, total)
