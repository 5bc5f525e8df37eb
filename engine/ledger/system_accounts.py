"""The house's own accounts, which exist before any command."""

from typing import Final

from engine.units import AccountId

#: Stands for the world outside: deposits come from it, withdrawals go to it. May go below zero.
CLEARING: Final = AccountId(1)
#: Receives fees and pays rebates out of them.
FEES: Final = AccountId(2)
#: Meets facts from outside that no hold covers, until people have looked. May go below zero.
SUSPENSE: Final = AccountId(3)

#: The accounts for which a negative balance means something.
OPEN_ENDED: Final = (CLEARING, SUSPENSE)
#: Customers' accounts are numbered from here.
FIRST_CUSTOMER: Final = AccountId(100)
