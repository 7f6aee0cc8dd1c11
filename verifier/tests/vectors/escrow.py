#!/usr/bin/env python3
"""Vectors of a client's escrow, from the rules in words, not from the Rust code.

    python3 escrow.py > escrow.json

Every case is a chain on which jobs are prepaid. A block has one step of the client or none: `deposit`, `withdraw` or `pay` (a
verified answer of that price). After each block stand the client's balance, its escrow, what of it leaves and at the end of
which block, and what the miner was paid; `taken` says whether the step was allowed, and one that was not changes nothing.
"""

import json
import random


class Escrow:
    def __init__(self, balance, unbonding):
        self.balance, self.unbonding = balance, unbonding
        self.locked, self.leaving, self.paid = 0, {}, 0

    def deposit(self, amount, _height):
        if amount > self.balance:
            return False
        self.balance -= amount
        self.locked += amount
        return True

    def withdraw(self, amount, height):
        if amount > self.locked:
            return False
        self.locked -= amount
        due = height + self.unbonding
        self.leaving[due] = self.leaving.get(due, 0) + amount
        return True

    def pay(self, amount, _height):
        if amount > self.locked + sum(self.leaving.values()):
            return False
        self.paid += amount
        # From what is locked first, then from what leaves last.
        taken = min(amount, self.locked)
        self.locked -= taken
        amount -= taken
        for due in sorted(self.leaving, reverse=True):
            taken = min(amount, self.leaving[due])
            self.leaving[due] -= taken
            amount -= taken
        return True

    def end(self, height):
        self.balance += self.leaving.pop(height, 0)


def case(seed, balance, unbonding, blocks, first):
    rng = random.Random(seed)
    escrow, steps = Escrow(balance, unbonding), []
    for height in range(first, first + blocks):
        kind = rng.choice(["deposit", "deposit", "withdraw", "withdraw", "pay", "pay", None])
        amount = rng.randint(1, balance // 8)
        taken = kind is not None and getattr(escrow, kind)(amount, height)
        escrow.end(height)
        steps.append(
            {
                "height": height,
                "step": kind,
                "amount": amount if kind else 0,
                "taken": taken,
                "balance": escrow.balance,
                "locked": escrow.locked,
                "leaving": [[due, part] for due, part in sorted(escrow.leaving.items())],
                "paid": escrow.paid,
            }
        )
    return {"balance": balance, "unbonding_blocks": unbonding, "steps": steps}


def main():
    # The first two blocks register a model and a miner.
    cases = [case(1, 10_000, 3, 40, 3), case(2, 10_000, 0, 20, 3), case(3, 10_000, 7, 60, 3)]
    lines = ",\n".join(json.dumps(case) for case in cases)
    print(f"[\n{lines}\n]")


main()
