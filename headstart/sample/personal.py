"""How personal things are drawn: one short function an object, a few plain shapes each."""

from __future__ import annotations

from headstart.sample.pen import CLOTH, PLASTIC, SKIN, STEEL, WHITE, WOOD, Colour, Pen, tone

# Montres et bijoux


def montre(p: Pen) -> None:
    metal, strap, r = p.pick(STEEL), p.main, p.u(17, 23)
    wide = r * p.u(0.5, 0.75)
    p.shape([(50 - wide, 50), (50 + wide, 50), (50 + wide * 0.7, 3), (50 - wide * 0.7, 3)], strap)
    p.shape([(50 - wide, 50), (50 + wide, 50), (50 + wide * 0.7, 97), (50 - wide * 0.7, 97)], strap)
    if p.maybe(0.4):
        for y in range(6, 96, 6):
            p.line([(50 - wide, y), (50 + wide, y)], tone(strap, 0.6), 0.8)
    else:
        p.box(50 - wide * 0.8, 6, 50 + wide * 0.8, 11, metal, 1)
        for y in (78, 83, 88, 93):
            p.disc(50, y, 1.1, tone(strap, 0.4), False)
    p.box(50 + r - 1, 47, 50 + r + 4, 53, metal, 1)
    p.disc(50, 50, r + 3, metal)
    dial = p.pick((WHITE, (24, 26, 34), tone(p.other, 0.8)))
    ink = (240, 240, 240) if sum(dial) < 330 else (30, 30, 34)
    p.disc(50, 50, r, dial)
    for hour in range(12):
        p.line([p.around(50, 50, r * 0.8, hour * 30), p.around(50, 50, r * 0.94, hour * 30)], ink, 1.2)
    p.line([(50, 50), p.around(50, 50, r * 0.5, p.u(0, 360))], ink, 2.2)
    p.line([(50, 50), p.around(50, 50, r * 0.76, p.u(0, 360))], ink, 1.5)
    p.line([(50, 50), p.around(50, 50, r * 0.8, p.u(0, 360))], (190, 40, 40), 0.6)


def montre_connectee(p: Pen) -> None:
    w, h = p.u(17, 21), p.u(19, 25)
    p.box(50 - w * 0.75, 3, 50 + w * 0.75, 97, p.main, 6)
    for y in (10, 15, 20):
        p.disc(50, y, 1.2, tone(p.main, 0.5), False)
    p.box(50 - w, 50 - h, 50 + w, 50 + h, p.pick(STEEL), 7)
    p.box(52 - w, 52 - h, 48 + w, 48 + h, (12, 12, 16), 5)
    p.box(50 + w, 42, 52 + w, 50, p.pick(STEEL), 1)
    if p.maybe(0.7):
        for turn, colour in enumerate(((230, 60, 90), (120, 220, 60), (60, 190, 230))):
            d = w * (0.75 - 0.2 * turn)
            p.arc(50 - d, 50 - d, 50 + d, 50 + d, -90, p.u(30, 250), colour, 2.4)
    else:
        p.box(42, 44, 46, 56, (230, 230, 230), 0, False)
        p.box(53, 44, 57, 56, (230, 230, 230), 0, False)


def bague(p: Pen) -> None:
    metal = p.pick(STEEL[:4])
    p.arc(22, 34, 78, 92, 0, 360, tone(metal, 0.75), 8)
    p.arc(23, 33, 77, 90, 0, 360, metal, 5)
    p.arc(24, 33, 76, 90, 190, 250, tone(metal, 1.6), 2)
    if p.maybe(0.8):
        size = p.u(9, 16)
        p.shape([(42, 36), (58, 36), (50 + size * 0.6, 26), (50 - size * 0.6, 26)], metal)
        top = 28 - size
        table = [(50 - size / 2, top), (50 + size / 2, top)]
        p.shape([(50 - size, top + 6), *table, (50 + size, top + 6), (50, 36)], tone(p.main, 1.2))
        for corner in table:
            p.line([corner, (50, 36)], tone(p.main, 1.7), 0.8)
        p.line([(50 - size, top + 6), (50 + size, top + 6)], tone(p.main, 0.7), 0.8)


def collier(p: Pen) -> None:
    metal, wide, deep = p.pick(STEEL[:4]), p.u(26, 40), p.u(50, 80)
    beads, pearls = int(p.u(26, 44)), p.maybe(0.4)
    for i in range(beads + 1):
        t = 2 * i / beads - 1
        x, y = 50 + wide * t, 10 + deep * (1 - t * t)
        p.disc(x, y, 2.3 if pearls else 1.3, tone(p.main, 1.3) if pearls else metal)
    low = 10 + deep
    if p.maybe():
        p.shape([(50, low), (57, low + 8), (50, low + 18), (43, low + 8)], p.main)
        p.line([(43, low + 8), (57, low + 8)], tone(p.main, 1.6), 1)
    else:
        p.disc(50, low + 6, 6, metal)
        p.disc(50, low + 6, 3.6, p.main)


# Informatique


def portable(p: Pen) -> None:
    shell = p.pick(PLASTIC)
    p.box(16, 12, 84, 60, shell, 2)
    p.box(19, 15, 81, 57, _screen(p), 0)
    if p.maybe():
        _windows(p, 19, 15, 81, 57)
    p.shape([(16, 61), (84, 61), (97, 88), (3, 88)], tone(shell, 1.1))
    p.box(3, 88, 97, 91, tone(shell, 0.7), 1)
    for row in range(4):
        y = 64 + row * 4
        out = row * 1.9
        for k in range(12):
            x = 20 - out + k * (60 + 2 * out) / 12
            p.box(x, y, x + (56 + 2 * out) / 12, y + 3, tone(shell, 0.45), 0.5, False)
    p.box(40, 81, 60, 87, tone(shell, 0.85), 0.5)


def clavier(p: Pen) -> None:
    shell = p.pick((*PLASTIC, p.main))
    key = p.pick((tone(shell, 0.55), tone(shell, 1.35), (28, 28, 30)))
    p.box(2, 32, 98, 70, shell, 3)
    columns = int(p.u(13, 17.9))
    for row in range(5):
        for k in range(columns):
            x, y = 5 + k * 90 / columns, 35.5 + row * 6.4
            if row == 4 and 3 < k < columns - 5:
                continue
            p.box(x, y, x + 90 / columns - 1, y + 5.2, key, 0.8, False)
    p.box(5 + 4 * 90 / columns, 61.1, 4 + (columns - 5) * 90 / columns, 66.3, key, 0.8, False)
    if p.maybe(0.6):
        p.line([(50, 32), (48, 18), (p.u(20, 80), 4)], (30, 30, 30), 1.2)


def souris(p: Pen) -> None:
    shell = p.pick((*PLASTIC, p.main))
    wide = p.u(18, 24)
    if p.maybe(0.7):
        p.line([(50, 24), (52, 12), (p.u(30, 70), 1)], (30, 30, 32), 1.6)
    p.box(50 - wide, 22, 50 + wide, 92, shell, wide)
    p.line([(50, 24), (50, 52)], tone(shell, 0.5), 1)
    p.line([(50 - wide, 53), (50, 50), (50 + wide, 53)], tone(shell, 0.5), 1)
    p.box(47, 30, 53, 44, p.pick(((40, 40, 42), p.main)), 3)


def ecran(p: Pen) -> None:
    shell = p.pick(PLASTIC)
    p.shape([(44, 70), (56, 70), (60, 92), (40, 92)], tone(shell, 0.8))
    p.oval(28, 87, 72, 97, shell)
    p.box(3, 10, 97, 74, shell, 2)
    p.box(5, 12, 95, 69, _screen(p), 0)
    if p.maybe(0.6):
        _windows(p, 5, 12, 95, 69)


def _screen(p: Pen) -> Colour:
    return p.pick(((14, 14, 18), (40, 92, 160), tone(p.other, 0.6), (226, 232, 240)))


def _windows(p: Pen, x0: float, y0: float, x1: float, y1: float) -> None:
    for _ in range(int(p.u(1, 3.9))):
        x, y = p.u(x0 + 1, x1 - 30), p.u(y0 + 1, y1 - 22)
        p.box(x, y, x + p.u(18, 29), y + p.u(12, 21), WHITE, 1)
        p.box(x, y, x + 18, y + 3, tone(p.other, 0.9), 0, False)
    p.box(x0, y1 - 4, x1, y1, (50, 54, 62), 0, False)


def sacoche(p: Pen) -> None:
    p.arc(32, 8, 68, 48, 180, 360, tone(p.main, 0.6), 4)
    p.box(6, 28, 94, 86, p.main, 5)
    p.box(6, 28, 94, 56, tone(p.main, 0.85), 5)
    for x in (26, 70):
        p.box(x, 50, x + 5, 64, p.pick(STEEL), 1)
    p.box(16, 66, 84, 80, tone(p.main, 0.92), 2)


# Beauté


def parfum(p: Pen) -> None:
    juice, cap = tone(p.main, 1.35), p.pick((*STEEL, (24, 24, 28)))
    wide, radius = p.u(20, 32), p.u(1, 18)
    p.box(50 - wide, 38, 50 + wide, 94, tone(juice, 1.5), radius)
    p.box(54 - wide, p.u(42, 64), 46 + wide, 90, juice, radius * 0.8)
    p.box(44, 28, 56, 38, p.pick(STEEL))
    p.box(40, 8, 60, 30, cap, p.u(0, 8))
    p.box(36, 60, 64, 76, WHITE, 1)
    p.line([(40, 66), (60, 66)], (40, 40, 40), 1.2)
    p.line([(43, 71), (57, 71)], (40, 40, 40), 0.8)


def rouge_a_levres(p: Pen) -> None:
    red = p.pick(((186, 24, 48), (214, 70, 96), (140, 20, 50), (224, 112, 96), p.main))
    metal, case = p.pick(STEEL), p.pick(((24, 24, 28), p.main, (226, 190, 120)))
    p.shape([(40, 44), (40, 18), (60, 6), (60, 44)], red)
    p.line([(44, 42), (44, 20)], tone(red, 1.4), 1.5)
    p.box(38, 40, 62, 58, metal, 1)
    p.box(34, 56, 66, 96, case, 2)
    if p.maybe(0.6):
        p.box(74, 54, 98, 96, case, 3)


def tube(p: Pen) -> None:
    body = tone(p.main, p.u(1, 1.6))
    p.shape([(28, 6), (72, 6), (64, 76), (36, 76)], body)
    p.box(27, 3, 73, 9, tone(body, 0.85))
    p.box(37, 76, 63, 96, p.pick((WHITE, tone(p.main, 0.6), (30, 30, 32))), 2)
    p.box(36, 22, 64, 40, p.pick((WHITE, tone(p.other, 1.2))), 1, False)
    for y in (48, 53, 58):
        p.line([(40, y), (p.u(52, 61), y)], tone(body, 0.5), 0.9)


def vernis(p: Pen) -> None:
    for x in (8, 38, 68)[: int(p.u(1, 3.9))]:
        colour = p.pick((p.main, p.other, (200, 30, 60), (236, 150, 170)))
        p.box(x + 6, 10, x + 18, 52, (24, 24, 28), 3)
        p.box(x, 50, x + 24, 92, colour, 6)
        p.line([(x + 4, 58), (x + 4, 84)], tone(colour, 1.6), 1.6)


def palette(p: Pen) -> None:
    p.box(4, 44, 96, 92, (30, 28, 32), 4)
    p.box(6, 6, 94, 44, p.pick(((40, 38, 42), p.main)), 4)
    p.box(10, 10, 90, 41, (206, 214, 220), 2)
    columns = int(p.u(3, 6.9))
    for row in range(2):
        for k in range(columns):
            wide = 84 / columns
            x, y = 8 + k * wide, 48 + row * 21
            powder = tone(p.pick((p.main, p.other, *SKIN, (214, 120, 130), (150, 84, 100))), p.u(0.7, 1.5))
            p.box(x + 1, y, x + wide - 1, y + 19, powder, p.pick((1, 8)))


# Bébé


def poussette(p: Pen) -> None:
    frame = p.pick(STEEL)
    p.line([(88, 22), (70, 34), (40, 84)], frame, 3)
    p.line([(30, 60), (66, 84)], frame, 3)
    p.line([(88, 22), (95, 18)], (30, 30, 32), 4)
    p.shape([(22, 46), (72, 46), (66, 68), (32, 70)], p.main)
    p.shape([(22, 46), (24, 24), (38, 10), (56, 10), (50, 46)], tone(p.main, 0.8))
    for x in (30, 40):
        p.line([(50, 46), (x, 14)], tone(p.main, 0.6), 1)
    for x in (36, 70):
        p.disc(x, 86, 10, (40, 40, 42))
        p.disc(x, 86, 5.5, p.pick((frame, WHITE)))


def biberon(p: Pen) -> None:
    p.shape([(44, 16), (47, 4), (53, 4), (56, 16)], (226, 190, 140))
    p.oval(38, 10, 62, 24, (226, 190, 140))
    p.box(32, 20, 68, 32, p.main, 2)
    p.box(34, 32, 66, 96, (228, 236, 240), 7)
    level = p.u(44, 80)
    if p.maybe(0.7):
        p.box(36, level, 64, 94, (250, 248, 240), 6)
    for y in range(42, 90, 8):
        p.line([(55, y), (63, y)], tone(p.main, 0.8), 1)
    p.disc(45, 64, 6, tone(p.main, 1.3))


def body(p: Pen) -> None:
    right = [(66, 8), (96, 26), (86, 44), (74, 36), (74, 74), (58, 96)]
    p.shape(right + [(100 - x, y) for x, y in reversed(right)], tone(p.main, 1.2))
    p.pattern(tone(p.other, 1.2), p.pick(CLOTH), p.u(6, 12))
    p.arc(36, -2, 64, 20, 0, 180, tone(p.main, 0.7), 2)
    for x in (45, 50, 55):
        p.disc(x, 92, 1.3, WHITE)
    if p.maybe():
        p.disc(50, 50, 9, p.other)
        p.disc(44, 42, 4, p.other)
        p.disc(56, 42, 4, p.other)


def peluche(p: Pen) -> None:
    fur = p.pick((p.main, (168, 120, 76), (222, 200, 166), (150, 150, 156)))
    rabbit = p.maybe(0.4)
    for x in (34, 66):
        if rabbit:
            p.oval(x - 7, 0, x + 7, 34, fur)
        else:
            p.disc(x - (4 if x < 50 else -4), 16, 9, fur)
    for x0, x1 in ((8, 34), (66, 92)):
        p.oval(x0, 50, x1, 68, fur)
        p.oval(x0 + (8 if x0 < 50 else -8), 78, x1 + (8 if x0 < 50 else -8), 97, fur)
    p.oval(28, 44, 72, 94, fur)
    p.oval(36, 54, 64, 86, tone(fur, 1.4), False)
    p.disc(50, 32, 20, fur)
    p.oval(40, 34, 60, 48, tone(fur, 1.5), False)
    for x in (43, 57):
        p.disc(x, 28, 2.3, (20, 20, 22))
    p.oval(46, 35, 54, 41, (50, 34, 30))


def tasse_bebe(p: Pen) -> None:
    for x0, x1, start, end in ((4, 36, 90, 270), (64, 96, -90, 90)):
        p.arc(x0, 42, x1, 78, start, end, p.other, 5)
    p.shape([(24, 34), (76, 34), (70, 90), (30, 90)], p.main)
    p.pattern(tone(p.other, 1.3), p.pick(CLOTH), 10)
    p.box(21, 26, 79, 37, p.other, 3)
    p.box(42, 14, 58, 27, p.other, 4)


def chaise_haute(p: Pen) -> None:
    wood = p.pick((*WOOD, *PLASTIC))
    for x, foot in ((36, 20), (64, 80), (40, 32), (60, 68)):
        p.line([(x, 50), (foot, 97)], wood, 3)
    p.line([(27, 78), (73, 78)], wood, 2.5)
    p.box(34, 6, 66, 52, p.main, 8)
    p.pattern(tone(p.other, 1.3), p.pick(CLOTH), 8)
    p.shape([(22, 40), (78, 40), (84, 50), (16, 50)], WHITE)
