"""The 34 classes of 3D-FUTURE, ids 1..34 in this order, by the names of the 2020 challenge.

Later releases renamed some and kept the order; `LATER_NAMES` lists those by id.
"""

from fineseg import Category

_GROUPS = {
    "Cabinet/Shelf/Desk": (
        "Children Cabinet",
        "Nightstand",
        "Bookcase / jewelry Armoire",
        "Wardrobe",
        "Tea Table",
        "Corner/Side Table",
        "Sideboard / Side Cabinet / Console",
        "Wine Cooler",
        "TV Stand",
        "Drawer Chest / Corner cabinet",
        "Shelf",
        "Round End Table",
    ),
    "Bed": ("Double Bed", "Bunk Bed", "Bed Frame", "Single bed", "Kids Bed"),
    "Chair": (
        "Dining Chair",
        "Lounge Chair / Book-chair / Computer Chair",
        "Dressing Chair",
        "Classic Chinese Chair",
        "Barstool",
    ),
    "Table": ("Dressing Table", "Dining Table", "Desk"),
    "Sofa": (
        "Three-Seat / Multi-person sofa",
        "armchair",
        "Two-seat Sofa",
        "L-shaped Sofa",
        "Lazy Sofa",
        "Chaise Longue Sofa",
    ),
    "Pier/Stool": ("Footstool / Sofastool / Bed End Stool / Stool",),
    "Lighting": ("Pendant Lamp", "Ceiling Lamp"),
}

CATEGORIES: tuple[Category, ...] = tuple(
    Category(number, name, group)
    for number, (group, name) in enumerate(((group, name) for group, names in _GROUPS.items() for name in names), 1)
)

LATER_NAMES = {
    5: "Coffee Table",
    7: "Sideboard / Side Cabinet / Console Table",
    8: "Wine Cabinet",
    13: "King-size Bed",
    19: "Lounge Chair / Cafe Chair / Office Chair",
    26: "Three-Seat / Multi-seat Sofa",
    28: "Loveseat Sofa",
}
