"""What a random sample of a case says about the rest of it: exact, by the hypergeometric distribution, without approximation.

A case of `population` members has an unknown number of odd ones (honest ones, when the case shall be dropped).  Of `drawn`
members, drawn at random without replacement, `odd` were odd.  The upper bound is the largest number in the whole case under
which so few odd ones would still be drawn with probability above 1 - confidence (the exact one-sided bound of Clopper and
Pearson, 1934, for finite populations; Konijn, 1973).
"""

from __future__ import annotations

from fractions import Fraction
from math import comb

from sanitizer.errors import UsageError

CONFIDENCE = Fraction(19, 20)


def most_among_the_rest(population: int, drawn: int, odd: int, confidence: Fraction = CONFIDENCE) -> int:
    """The upper bound on odd ones among the `population - drawn` that nobody looked at.

    >>> most_among_the_rest(40, 20, 0)  # 20 of 20 are poisoned: with 95 % at most 4 of the other 20 are honest
    4
    >>> most_among_the_rest(40, 40, 3)
    0
    """
    if not 0 <= odd <= drawn <= population or drawn == 0:
        raise UsageError(f"of {population}, {drawn} were drawn and {odd} were odd: that cannot be")
    least, most = odd, population - (drawn - odd)  # so many are certain, and so many possible
    while least < most:  # fewer would be drawn the more there are: bisect
        middle = (least + most + 1) // 2
        if at_most(odd, population, middle, drawn) > 1 - confidence:
            least = middle
        else:
            most = middle - 1
    return least - odd


def at_most(odd: int, population: int, odd_in_all: int, drawn: int) -> Fraction:
    """Probability to draw `odd` or fewer of `odd_in_all`, drawing `drawn` of `population` without replacement.

    >>> at_most(0, 40, 4, 20)
    Fraction(51, 962)
    """
    ways = sum(comb(odd_in_all, k) * comb(population - odd_in_all, drawn - k) for k in range(min(odd, drawn) + 1))
    return Fraction(ways, comb(population, drawn))
