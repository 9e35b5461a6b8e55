"""LaTeX formulas as MathML, which browsers draw themselves: a page needs no scripts for it, and no network."""

from __future__ import annotations

import re
import unicodedata
from html import escape

_NAMED = r"\\(?:text|mathrm|operatorname\*?|textbf)\s*\{[^{}]*\}"
_TOKEN = re.compile(rf"{_NAMED}|\\(?:[a-zA-Z]+|.)|\d+(?:\.\d+)?|\S", re.DOTALL)
_GREEK = {"epsilon": "ϵ", "varepsilon": "ε", "phi": "ϕ", "varphi": "φ", "theta": "θ", "lambda": "λ", "ell": "ℓ"}
_SIGNS = {
    "cdot": "·", "times": "×", "neq": "≠", "ne": "≠", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ll": "≪",
    "leftarrow": "←", "rightarrow": "→", "to": "→", "mapsto": "↦", "in": "∈", "notin": "∉", "odot": "⊙", "oplus": "⊕",
    "ast": "∗", "circ": "∘", "ldots": "…", "dots": "…", "cdots": "⋯", "approx": "≈", "sim": "∼", "propto": "∝",
    "otimes": "⊗", "pm": "±", "gg": "≫",
    "infty": "∞", "partial": "∂", "nabla": "∇", "forall": "∀", "mid": "∣", "lvert": "|", "rvert": "|", "vert": "|",
    "lVert": "‖", "rVert": "‖", "Vert": "‖", "|": "‖", "{": "{", "}": "}", "langle": "⟨", "rangle": "⟩", "top": "⊤",
    "equiv": "≡", "cup": "∪", "cap": "∩", "subset": "⊂", "setminus": "∖", "perp": "⊥", "lfloor": "⌊", "rfloor": "⌋",
    "Rightarrow": "⇒", "%": "%", "_": "_", "$": "$", "#": "#", "&": "&", "star": "⋆", "bullet": "∙"}
_LIMITS = {"sum": "∑", "prod": "∏", "max": "max", "min": "min", "sup": "sup", "inf": "inf", "lim": "lim"}
_FUNCTIONS = ("log", "exp", "sin", "cos", "tan", "tanh", "arg", "det", "dim", "ln", "Pr", "deg")
_SPACES = {",": "0.17em", ":": "0.22em", ";": "0.28em", " ": "0.33em", "!": "-0.17em", "quad": "1em", "qquad": "2em"}
_ACCENTS = {"hat": "^", "widehat": "^", "tilde": "~", "widetilde": "~", "bar": "¯", "overline": "¯", "vec": "→"}
_ALPHABETS = {"mathcal": "SCRIPT", "mathbb": "DOUBLE-STRUCK", "mathbf": "BOLD", "boldsymbol": "BOLD"}


class FormulaError(ValueError):
    """A formula with something that this module does not know."""


def mathml(formula: str, display: bool = False) -> str:
    """A LaTeX formula (without its dollars) as a <math> element. Raises FormulaError."""
    parser = _Parser(formula, display)
    inner = parser.row(None)
    shown = "block" if display else "inline"
    return f'<math display="{shown}" alttext="{escape(" ".join(formula.split()))}"><mrow>{inner}</mrow></math>'


class _Parser:
    def __init__(self, formula: str, display: bool):
        self.tokens, self.display = _TOKEN.findall(formula), display

    def row(self, stop: str | None) -> str:
        """Everything up to the token `stop`, which is taken; None: up to the end."""
        parts = []
        while self.tokens and self.tokens[0] != stop:
            parts.append(self.scripted())
        if stop is not None:
            if not self.tokens:
                raise FormulaError(f"{stop} is missing")
            self.tokens.pop(0)
        return "".join(parts)

    def scripted(self) -> str:
        """An atom with what stands above and below it."""
        body, limits = self.atom()
        scripts: dict[str, str] = {}
        while self.tokens and self.tokens[0] in ("^", "_", "'"):
            mark = self.tokens.pop(0)
            above = mark != "_"
            found = "<mo>′</mo>" if mark == "'" else self.atom()[0]
            scripts["over" if above else "under"] = scripts.get("over" if above else "under", "") + found
        if not scripts:
            return body
        kind = ("under" in scripts) * ("munder" if limits else "msub") + ("over" in scripts) * (
            ("over" if limits else "sup") if "under" in scripts else ("mover" if limits else "msup"))
        inner = "".join(f"<mrow>{scripts[place]}</mrow>" for place in ("under", "over") if place in scripts)
        return f"<{kind}>{body}{inner}</{kind}>"

    def atom(self) -> tuple[str, bool]:
        """The next argument, and whether its scripts stand above and below it."""
        if not self.tokens:
            raise FormulaError("an argument is missing")
        token = self.tokens.pop(0)
        if token == "{":
            return f"<mrow>{self.row('}')}</mrow>", False
        if token[0] == "\\":
            return self.command(token[1:])
        if token[0].isdigit():
            return f"<mn>{token}</mn>", False
        if token.isalpha():
            return f"<mi>{token}</mi>", False
        if token == "~":
            return '<mspace width="0.33em"/>', False
        return f'<mo stretchy="false">{escape("−" if token == "-" else token)}</mo>', False

    def argument(self) -> str:
        """One argument: a group, a command or a single character, so that \\frac12 is a half."""
        if self.tokens and self.tokens[0].isdigit() and len(self.tokens[0]) > 1:
            self.tokens[:1] = self.tokens[0]
        return self.atom()[0]

    def command(self, name: str) -> tuple[str, bool]:
        if named := re.fullmatch(r"(\w+)(\*?)\s*\{(.*)\}", name, re.DOTALL):
            kind, star, text = named.groups()
            tag = "mtext" if kind.startswith("text") else 'mi mathvariant="normal"'
            text = escape(re.sub(r"\\(.)", r"\1", text)).replace(" ", "\u00a0")
            return f"<{tag}>{text}</{tag.split()[0]}>", bool(star) and self.display
        if name in _SIGNS:
            return f'<mo stretchy="false">{escape(_SIGNS[name])}</mo>', False
        if name in _LIMITS:
            tag = "mo" if name in ("sum", "prod") else "mi"
            return f"<{tag}>{_LIMITS[name]}</{tag}>", self.display
        if name in _FUNCTIONS:
            return f"<mi>{name}</mi>", False
        if name in _SPACES:
            return f'<mspace width="{_SPACES[name]}"/>', False
        if name in ("frac", "tfrac", "dfrac"):
            style = ' displaystyle="false"' if name == "tfrac" else ""
            return f"<mstyle{style}><mfrac>{self.argument()}{self.argument()}</mfrac></mstyle>", False
        if name == "sqrt":
            return f"<msqrt>{self.argument()}</msqrt>", False
        if name in _ACCENTS:
            return f'<mover accent="true">{self.argument()}<mo>{_ACCENTS[name]}</mo></mover>', False
        if name in ("underline", "underbrace"):
            mark = "⏟" if name == "underbrace" else "_"
            return f"<munder>{self.argument()}<mo stretchy=\"true\">{mark}</mo></munder>", name == "underbrace"
        if name == "underset":
            below = self.argument()
            return f"<munder>{self.argument()}{below}</munder>", False
        if name in _ALPHABETS:
            letters = re.sub("<[^>]*>", "", self.argument())
            return f"<mi>{''.join(_letter(_ALPHABETS[name], c) for c in letters)}</mi>", False
        if name in ("left", "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr"):
            return self.fence(name), False
        return f"<mi>{_GREEK.get(name) or _greek(name)}</mi>", False

    def fence(self, size: str) -> str:
        sign = self.tokens.pop(0) if self.tokens else "."
        sign = _SIGNS.get(sign[1:], sign) if sign[0] == "\\" else sign
        height = "" if size in ("left", "right") else f' minsize="{1.2 if size[0] == "b" else 1.8}em"'
        return "" if sign == "." else f'<mo stretchy="true" symmetric="true"{height}>{escape(sign)}</mo>'


def _greek(name: str) -> str:
    try:
        return unicodedata.lookup(f"GREEK {'CAPITAL' if name[:1].isupper() else 'SMALL'} LETTER {name.upper()}")
    except KeyError:
        raise FormulaError(f"\\{name} is not known") from None


def _letter(alphabet: str, letter: str) -> str:
    """A letter of a mathematical alphabet, as a character of its own."""
    case = "CAPITAL" if letter.isupper() else "SMALL"
    for name in (f"MATHEMATICAL {alphabet} {case} {letter.upper()}", f"{alphabet} {case} {letter.upper()}"):
        try:
            return unicodedata.lookup(name)
        except KeyError:
            continue
    return letter
