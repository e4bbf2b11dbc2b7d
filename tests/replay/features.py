"""A small program written feature by feature: what a published package's history does not show.

Each feature is a test and the edits that it asks for; what honest people do and what a gate may well misjudge.
"""

from __future__ import annotations

from dataclasses import dataclass

Edit = tuple[str, ...]
"""`new path text`, `append path text`, `replace path old new`, `move path path`, `delete path`."""


@dataclass(frozen=True)
class Feature:
    """`test`: text for the end of `path`. `edits`: under that test, each one call."""

    name: str
    path: str
    test: str
    edits: tuple[Edit, ...]
    refactor: tuple[Edit, ...] = ()
    """Afterwards, in refactor mode."""
    free: tuple[Edit, ...] = ()
    """Before the test is run."""


START = {
    "shop/__init__.py": '"""A shop."""\n',
    "shop/money.py": '"""Money."""\n\nCURRENCY = "EUR"\n\n\ndef cents(euro):\n    return euro * 100\n',
    "shop/serial.py": "def serial():\n    return object()\n",
    "shop/old.py": "def old():\n    return 1\n",
    "tests/test_money.py": (
        "from shop import money\n\n\ndef test_cents():\n    assert money.cents(2) == 200\n\n\n"
        'def test_currency():\n    assert money.CURRENCY == "EUR"\n'
    ),
}
M, INIT, T = "shop/money.py", "shop/__init__.py", "tests/test_money.py"

FEATURES = (
    Feature(
        "a function in a module that is there",
        T,
        "\n\ndef test_half():\n    assert money.half(4) == 2\n",
        (("append", M, "\n\ndef half(amount):\n    return amount / 2\n"),),
    ),
    Feature(
        "a constant",
        T,
        "\n\ndef test_symbol():\n    assert money.SYMBOL == '€'\n",
        (("replace", M, 'CURRENCY = "EUR"\n', 'CURRENCY = "EUR"\nSYMBOL = "€"\n'),),
    ),
    Feature(
        "a constant that changes",
        T,
        "\n\ndef test_places():\n    assert money.SYMBOL * 2 == '$$'\n",
        (("replace", M, 'SYMBOL = "€"', 'SYMBOL = "$"'), ("replace", T, "money.SYMBOL == '€'", "money.SYMBOL == '$'")),
    ),
    Feature(
        "an import that is used",
        T,
        "\n\ndef test_round_up():\n    assert money.round_up(1.2) == 2\n",
        (
            ("replace", M, "CURRENCY", "import math\n\nCURRENCY"),
            ("append", M, "\n\ndef round_up(amount):\n    return math.ceil(amount)\n"),
        ),
    ),
    Feature(
        "a new module",
        "tests/test_cart.py",
        "from shop.cart import Cart\n\n\ndef test_empty():\n    assert Cart().total() == 0\n",
        (("new", "shop/cart.py", "class Cart:\n    def total(self):\n        return 0\n"),),
    ),
    Feature(
        "a method on a class",
        "tests/test_cart.py",
        "\n\ndef test_add():\n    cart = Cart()\n    cart.add(3)\n    assert cart.total() == 3\n",
        (
            (
                "replace",
                "shop/cart.py",
                "class Cart:\n    def total(self):\n        return 0\n",
                "class Cart:\n    def __init__(self):\n        self.items = []\n\n    def add(self, price):\n"
                "        self.items.append(price)\n\n    def total(self):\n        return sum(self.items)\n",
            ),
        ),
    ),
    Feature(
        "a class attribute",
        "tests/test_cart.py",
        "\n\ndef test_limit():\n    assert Cart.limit == 10\n",
        (("replace", "shop/cart.py", "class Cart:\n", "class Cart:\n    limit = 10\n\n"),),
    ),
    Feature(
        "an exception class, in a module of its own",
        "tests/test_cart.py",
        "\n\ndef test_full():\n    import pytest\n    from shop.errors import CartFull\n    cart = Cart()\n"
        "    for _ in range(10):\n        cart.add(1)\n    with pytest.raises(CartFull):\n        cart.add(1)\n",
        (
            ("new", "shop/errors.py", "class CartFull(Exception):\n    pass\n"),
            ("replace", "shop/cart.py", "class Cart:\n", "from shop.errors import CartFull\n\n\nclass Cart:\n"),
            (
                "replace",
                "shop/cart.py",
                "        self.items.append",
                "        if len(self.items) >= self.limit:\n            raise CartFull\n        self.items.append",
            ),
        ),
    ),
    Feature(
        "a property",
        "tests/test_cart.py",
        "\n\ndef test_is_empty():\n    assert Cart().is_empty\n",
        (("append", "shop/cart.py", "\n    @property\n    def is_empty(self):\n        return not self.items\n"),),
    ),
    Feature(
        "a re-export",
        "tests/test_shop.py",
        "import shop\n\n\ndef test_cart_is_here():\n    assert shop.Cart().is_empty\n",
        (("append", INIT, "\nfrom shop.cart import Cart\n\n__all__ = ['Cart']\n"),),
    ),
    Feature(
        "a new module and its re-export",
        "tests/test_shop.py",
        "\n\ndef test_coupon():\n    assert shop.Coupon(5).off == 5\n",
        (
            ("new", "shop/coupon.py", "class Coupon:\n    def __init__(self, off):\n        self.off = off\n"),
            ("replace", INIT, "__all__ = ['Cart']", "from shop.coupon import Coupon\n\n__all__ = ['Cart', 'Coupon']"),
        ),
    ),
    Feature(
        "a re-export first, its module second",
        "tests/test_shop.py",
        "\n\ndef test_gift():\n    from shop import Gift\n\n    assert Gift().price == 0\n",
        (
            ("replace", INIT, "__all__ = ['Cart', ", "from shop.gift import Gift\n\n__all__ = ['Gift', 'Cart', "),
            ("new", "shop/gift.py", "class Gift:\n    price = 0\n"),
        ),
    ),
    Feature(
        "a new module that needs a new module",
        "tests/test_tax.py",
        "from shop.tax import tax\n\n\ndef test_tax():\n    assert tax(100, 'de') == 19\n",
        (
            ("new", "shop/rates.py", "RATES = {'de': 19}\n"),
            (
                "new",
                "shop/tax.py",
                "from shop.rates import RATES\n\n\ndef tax(amount, land):\n    return amount * RATES[land] // 100\n",
            ),
        ),
    ),
    Feature(
        "a new module, and then what it needs",
        "tests/test_ship.py",
        "from shop.ship import fee\n\n\ndef test_fee():\n    assert fee('de') == 5\n",
        (
            ("new", "shop/ship.py", "from shop.zones import zone\n\n\ndef fee(land):\n    return 5 * zone(land)\n"),
            ("new", "shop/zones.py", "def zone(land):\n    return 1\n"),
        ),
    ),
    Feature(
        "a row of a table",
        "tests/test_tax.py",
        "\n\ndef test_france():\n    assert tax(100, 'fr') == 20\n",
        (("replace", "shop/rates.py", "{'de': 19}", "{'de': 19, 'fr': 20}"),),
    ),
    Feature(
        "a table over several lines",
        "tests/test_tax.py",
        "\n\ndef test_spain():\n    assert tax(100, 'es') == 21\n",
        (("replace", "shop/rates.py", "{'de': 19, 'fr': 20}", "{\n    'de': 19,\n    'fr': 20,\n    'es': 21,\n}"),),
    ),
    Feature(
        "a decorator",
        "tests/test_tools.py",
        "from shop.tools import once\n\n\ndef test_once():\n    calls = []\n\n    @once\n    def call():\n"
        "        calls.append(1)\n        return 7\n\n    assert call() + call() == 14\n    assert calls == [1]\n",
        (
            (
                "new",
                "shop/tools.py",
                "from functools import wraps\n\n\ndef once(function):\n    kept = []\n\n    @wraps(function)\n"
                "    def inner():\n        if not kept:\n            kept.append(function())\n"
                "        return kept[0]\n\n    return inner\n",
            ),
        ),
    ),
    Feature(
        "a decorator put on a function",
        "tests/test_tools.py",
        "\n\ndef test_serial_is_made_once():\n    from shop.serial import serial\n\n    assert serial() is serial()\n",
        (("replace", "shop/serial.py", "def serial", "from shop.tools import once\n\n\n@once\ndef serial"),),
    ),
    Feature(
        "a generator",
        "tests/test_tools.py",
        "\n\ndef test_pairs():\n    from shop.tools import pairs\n\n"
        "    assert list(pairs([1, 2, 3])) == [(1, 2), (2, 3)]\n",
        (("append", "shop/tools.py", "\n\ndef pairs(items):\n    yield from zip(items, items[1:])\n"),),
    ),
    Feature(
        "a coroutine",
        "tests/test_tools.py",
        "\n\ndef test_wait():\n    import asyncio\n    from shop.tools import wait\n\n"
        "    assert asyncio.run(wait()) == 1\n",
        (("append", "shop/tools.py", "\n\nasync def wait():\n    return 1\n"),),
    ),
    Feature(
        "what runs in a thread",
        "tests/test_thread.py",
        "from shop.thread import in_thread\n\n\ndef test_in_thread():\n    assert in_thread() == [1]\n",
        (
            (
                "new",
                "shop/thread.py",
                "import threading\n\n\ndef in_thread():\n    found = []\n"
                "    thread = threading.Thread(target=_work, args=(found,))\n    thread.start()\n    thread.join()\n"
                "    return found\n\n\ndef _work(found):\n    found.append(1)\n",
            ),
        ),
    ),
    Feature(
        "a change that only a thread runs",
        "tests/test_thread.py",
        "\n\ndef test_twice():\n    assert in_thread() * 1 == [1, 1]\n",
        (
            ("replace", "shop/thread.py", "    found.append(1)\n", "    found += [1, 1]\n"),
            ("replace", "tests/test_thread.py", "in_thread() == [1]", "in_thread() == [1, 1]"),
        ),
    ),
    Feature(
        "a program that a test starts",
        "tests/test_main.py",
        "import os\nimport subprocess\nimport sys\n\n\ndef test_main():\n"
        "    end = subprocess.run([sys.executable, '-m', 'shop'], capture_output=True, text=True, env={**os.environ})\n"
        "    assert end.stdout == 'welcome\\n'\n",
        (("new", "shop/__main__.py", "print('welcome')\n"),),
    ),
    Feature(
        "a command with its own function, called and started",
        "tests/test_command.py",
        "from shop.command import main\n\n\ndef test_command(capsys):\n    assert main([]) == 0\n"
        "    assert capsys.readouterr().out == 'hello\\n'\n",
        (
            (
                "new",
                "shop/command.py",
                "import sys\n\n\ndef main(words):\n    print('hello')\n    return 0\n\n\n"
                "if __name__ == '__main__':\n    sys.exit(main(sys.argv[1:]))\n",
            ),
        ),
    ),
    Feature(
        "a docstring in the same red",
        T,
        "\n\ndef test_third():\n    assert money.third(9) == 3\n",
        (
            ("append", M, "\n\ndef third(amount):\n    return amount / 3\n"),
            ("replace", M, "def half(amount):\n", 'def half(amount):\n    """One of two equal parts."""\n'),
            ("replace", M, "def third(amount):\n", 'def third(amount):\n    """One of three equal parts."""\n'),
        ),
    ),
    Feature(
        "types in the same red",
        T,
        "\n\ndef test_fourth():\n    assert money.fourth(8) == 2\n",
        (
            ("append", M, "\n\ndef fourth(amount: float) -> float:\n    return amount / 4\n"),
            ("replace", M, "def cents(euro):", "def cents(euro: int) -> int:"),
        ),
    ),
    Feature(
        "an import for types alone",
        T,
        "\n\ndef test_parts():\n    assert money.parts([8]) == 8\n",
        (
            (
                "replace",
                M,
                "import math\n",
                "from __future__ import annotations\n\nimport math\nfrom typing import TYPE_CHECKING\n\n"
                "if TYPE_CHECKING:\n    from collections.abc import Sequence\n",
            ),
            ("append", M, "\n\ndef parts(amounts: Sequence[float]) -> float:\n    return sum(amounts)\n"),
        ),
    ),
    Feature(
        "a type alias in another module",
        T,
        "\n\ndef test_price():\n    assert money.price(3) == 3\n",
        (
            ("new", "shop/kinds.py", "Amount = float\n"),
            ("replace", M, "import math\n", "import math\n\nfrom shop.kinds import Amount\n"),
            ("append", M, "\n\ndef price(amount: Amount) -> Amount:\n    return amount\n"),
        ),
    ),
    Feature(
        "a dataclass",
        "tests/test_point.py",
        "from shop.point import Point\n\n\ndef test_point():\n    assert Point(1, 2) == Point(1, 2)\n",
        (
            (
                "new",
                "shop/point.py",
                "from dataclasses import dataclass\n\n\n@dataclass\nclass Point:\n    x: int\n    y: int\n",
            ),
        ),
    ),
    Feature(
        "a field of a dataclass",
        "tests/test_point.py",
        "\n\ndef test_height():\n    assert Point(1, 2, z=3).z == 3\n",
        (("append", "shop/point.py", "    z: int = 0\n"),),
    ),
    Feature(
        "an enum, and a member more",
        "tests/test_state.py",
        "from shop.state import State\n\n\ndef test_paid():\n    assert State['PAID'].value == 2\n",
        (
            ("new", "shop/state.py", "from enum import Enum\n\n\nclass State(Enum):\n    OPEN = 1\n"),
            ("append", "shop/state.py", "    PAID = 2\n"),
        ),
    ),
    Feature(
        "a parameter more",
        T,
        "\n\ndef test_half_rounded():\n    assert money.half(5, whole=True) == 2\n",
        (
            ("replace", M, "def half(amount):", "def half(amount, whole=False):"),
            ("replace", M, "    return amount / 2\n", "    return amount // 2 if whole else amount / 2\n"),
        ),
    ),
    Feature(
        "a branch",
        T,
        "\n\ndef test_no_cents():\n    import pytest\n    with pytest.raises(ValueError):\n        money.cents(-1)\n",
        (
            (
                "replace",
                M,
                "    return euro * 100\n",
                "    if euro < 0:\n        raise ValueError(euro)\n    return euro * 100\n",
            ),
        ),
    ),
    Feature(
        "lines taken out",
        T,
        "\n\ndef test_debt():\n    assert money.cents(-1) == -100\n",
        (
            ("replace", M, "    if euro < 0:\n        raise ValueError(euro)\n", ""),
            (
                "replace",
                T,
                "\n\ndef test_no_cents():\n    import pytest\n"
                "    with pytest.raises(ValueError):\n        money.cents(-1)\n",
                "",
            ),
        ),
    ),
    Feature(
        "a module that goes, with what takes its place",
        "tests/test_gone.py",
        "from shop.recent import recent\n\n\ndef test_recent():\n    assert recent() == 2\n",
        (("new", "shop/recent.py", "def recent():\n    return 2\n"),),
        refactor=(("delete", "shop/old.py"),),
    ),
    Feature(
        "a module that moves",
        "tests/test_where.py",
        "from shop.geometry import Point\n\n\ndef test_moved():\n    assert Point(0, 0).x == 0\n",
        (
            ("move", "shop/point.py", "shop/geometry.py"),
            ("replace", "tests/test_point.py", "shop.point", "shop.geometry"),
        ),
    ),
    Feature(
        "a module that becomes a package",
        "tests/test_package.py",
        "from shop.zones.far import far\n\n\ndef test_far():\n    assert far()\n",
        (
            ("move", "shop/zones.py", "shop/zones/__init__.py"),
            ("new", "shop/zones/far.py", "def far():\n    return True\n"),
        ),
    ),
    Feature(
        "data that is read",
        "tests/test_words.py",
        "from shop.words import words\n\n\ndef test_words():\n    assert words() == ['a', 'b']\n",
        (
            ("new", "shop/words.txt", "a\nb\n"),
            (
                "new",
                "shop/words.py",
                "from pathlib import Path\n\n\ndef words():\n"
                "    return Path(__file__).with_name('words.txt').read_text().split()\n",
            ),
        ),
    ),
    Feature(
        "code first, then the data that it reads",
        "tests/test_lands.py",
        "from shop.lands import lands\n\n\ndef test_lands():\n    assert lands() == {'de': 1}\n",
        (
            (
                "new",
                "shop/lands.py",
                "import json\nfrom pathlib import Path\n\n\ndef lands():\n"
                "    return json.loads(Path(__file__).with_name('lands.json').read_text())\n",
            ),
            ("new", "shop/lands.json", '{"de": 1}\n'),
        ),
    ),
    Feature(
        "a change of data, and of code that reads it",
        "tests/test_words.py",
        "\n\ndef test_third_word():\n    assert words()[2:] == ['C']\n",
        (
            ("append", "shop/words.txt", "c\n"),
            ("replace", "shop/words.py", ".split()", ".replace('c', 'C').split()"),
            ("replace", "tests/test_words.py", "assert words() == ['a', 'b']", "assert words() == ['a', 'b', 'C']"),
        ),
    ),
    Feature(
        "parametrised",
        T,
        "\n\n@__import__('pytest').mark.parametrize('n, m', [(1, 2), (2, 4), (0, 0)])\n"
        "def test_twice(n, m):\n    assert money.twice(n) == m\n",
        (("append", M, "\n\ndef twice(n):\n    return 2 * n\n"),),
    ),
    Feature(
        "in a class, with a fixture of a conftest",
        "tests/test_class.py",
        "from shop.stock import Stock\n\n\nclass TestStock:\n    def test_take(self, three):\n"
        "        stock = Stock(three)\n        stock.take()\n        assert stock.left == 2\n",
        (
            (
                "new",
                "shop/stock.py",
                "class Stock:\n    def __init__(self, left):\n        self.left = left\n\n    def take(self):\n"
                "        self.left -= 1\n",
            ),
        ),
        free=(("new", "tests/conftest.py", "import pytest\n\n\n@pytest.fixture\ndef three():\n    return 3\n"),),
    ),
    Feature(
        "a fixture that makes what is not there",
        "tests/test_made.py",
        "import pytest\n\nfrom shop.made import Made\n\n\n@pytest.fixture\ndef made():\n    return Made()\n\n\n"
        "def test_made(made):\n    assert made.ok\n",
        (("new", "shop/made.py", "class Made:\n    ok = True\n"),),
    ),
    Feature(
        "what a class of tests names while it is loaded",
        T,
        "\n\nclass TestShare:\n    share = staticmethod(money.share)\n\n    def test_share(self):\n"
        "        assert self.share(4) == 1\n",
        (("append", M, "\n\ndef share(amount):\n    return amount / 4\n"),),
    ),
    Feature(
        "the name of what is not there",
        "tests/test_named.py",
        "from shop.named import named\n\n\ndef test_named():\n    assert (named.__name__, named()) == ('named', 1)\n",
        (("new", "shop/named.py", "def named():\n    return 1\n"),),
    ),
    Feature(
        "a helper of the tests",
        "tests/test_helped.py",
        "from tests.making import make\n\n\ndef test_helped():\n    assert make() == 1\n",
        (("new", "shop/base.py", "def base():\n    return 1\n"),),
        free=(("new", "tests/making.py", "from shop.base import base\n\n\ndef make():\n    return base()\n"),),
    ),
    Feature(
        "a small test after the code became wrong for another",
        T,
        "\n\ndef test_half_of_nothing():\n    assert money.half(None) == 0\n",
        (
            (
                "replace",
                M,
                "    return amount // 2 if",
                "    if amount is None:\n        return 0\n    return amount // 2 if",
            ),
        ),
        refactor=(
            ("replace", M, "    if amount is None:\n        return 0\n", "    amount = amount or 0\n"),
            ("replace", M, '"""Money."""', '"""Money, and what becomes of it."""'),
        ),
    ),
    Feature(
        "a module that moves in refactor mode",
        T,
        "\n\ndef test_sixth():\n    assert money.sixth(12) == 2\n",
        (("append", M, "\n\ndef sixth(amount):\n    return amount / 6\n"),),
        refactor=(
            ("move", "shop/kinds.py", "shop/amounts.py"),
            ("replace", M, "from shop.kinds import", "from shop.amounts import"),
        ),
    ),
)
