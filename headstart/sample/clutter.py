"""What lies about on a photo, and is not for sale."""

from __future__ import annotations

from headstart.sample.pen import Pen, tone


def carton(p: Pen) -> None:
    card = tone((178, 138, 92), p.u(0.8, 1.15))
    p.shape([(6, 34), (60, 44), (60, 96), (6, 82)], card)
    p.shape([(60, 44), (95, 30), (95, 78), (60, 96)], tone(card, 0.75))
    p.shape([(6, 34), (40, 20), (95, 30), (60, 44)], tone(card, 1.15))
    p.line([(24, 27), (78, 37)], (214, 200, 170), 5)


def livre(p: Pen) -> None:
    p.box(16, 10, 84, 90, p.main, 1)
    p.box(16, 10, 24, 90, tone(p.main, 0.7))
    p.box(34, 24, 74, 36, tone(p.other, 1.4), 0, False)


def plante(p: Pen) -> None:
    for _ in range(9):
        x, y = p.u(8, 92), p.u(4, 46)
        p.line([(50, 68), (x, y)], (60, 110, 56), 2)
        p.oval(x - 7, y - 6, x + 7, y + 8, tone((60, 120, 60), p.u(0.6, 1.3)))
    p.shape([(30, 62), (70, 62), (64, 96), (36, 96)], (184, 100, 66))


def stylo(p: Pen) -> None:
    p.line([(12, 88), (84, 16)], p.main, 6)
    p.line([(84, 16), (92, 8)], (30, 30, 30), 3)


def cle(p: Pen) -> None:
    p.arc(8, 30, 44, 66, 0, 360, (180, 160, 90), 7)
    p.line([(44, 48), (92, 48)], (180, 160, 90), 6)
    p.line([(82, 48), (82, 62)], (180, 160, 90), 5)


def cable(p: Pen) -> None:
    points = [(p.u(4, 96), p.u(4, 96)) for _ in range(6)]
    p.line(points, p.pick(((24, 24, 26), (236, 236, 236))), 2.5)


def fruit(p: Pen) -> None:
    p.disc(50, 54, 34, p.pick(((200, 50, 40), (226, 140, 40), (140, 180, 60))))
    p.line([(50, 22), (56, 8)], (90, 60, 40), 4)


def doigt(p: Pen) -> None:
    p.box(34, 4, 66, 140, (224, 172, 144), 16)


CLUTTER = (carton, livre, plante, stylo, cle, cable, fruit, doigt)
