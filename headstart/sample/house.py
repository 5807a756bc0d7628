"""How the things of a house are drawn: one short function an object, a few plain shapes each."""

from __future__ import annotations

from headstart.sample.pen import CLOTH, STEEL, WHITE, WOOD, Pen, tone

# Mobilier


def chaise(p: Pen) -> None:
    wood, seat = p.pick(WOOD), p.pick((p.main, p.pick(WOOD)))
    for x, y in ((30, 96), (70, 96), (38, 86), (76, 84)):
        p.line([(x + (2 if x < 50 else -2), 56), (x, y)], tone(wood, 0.8), 3)
    p.line([(32, 56), (29, 8)], wood, 3.4)
    p.line([(66, 56), (68, 8)], wood, 3.4)
    if p.maybe():
        for y in (12, 24, 36):
            p.box(29, y, 68, y + p.u(4, 7), wood, 1)
    else:
        p.box(29, 6, 68, 40, seat, p.u(1, 9))
    p.shape([(28, 54), (68, 54), (78, 64), (24, 64)], seat)
    p.box(24, 64, 78, 67, tone(seat, 0.7), 0, False)


def table(p: Pen) -> None:
    wood, top = p.pick(WOOD), p.u(34, 46)
    if p.maybe(0.35):
        p.line([(50, top), (50, 84)], tone(wood, 0.7), 6)
        p.line([(30, 92), (50, 82), (70, 92)], tone(wood, 0.7), 4)
        p.oval(6, top - 12, 94, top + 13, tone(wood, 0.75))
        p.oval(6, top - 14, 94, top + 10, wood)
        return
    for x in (22, 84):
        p.line([(x, top), (x, 78)], tone(wood, 0.6), 3.5)
    p.shape([(18, top - 12), (88, top - 12), (97, top + 6), (4, top + 6)], wood)
    for k in (0.3, 0.6):
        p.line([(18 - 14 * k, top - 12 + 18 * k), (88 + 9 * k, top - 12 + 18 * k)], tone(wood, 0.88), 0.6)
    p.box(4, top + 6, 97, top + 11, tone(wood, 0.75))
    for x in (7, 93):
        p.line([(x, top + 11), (x, 95)], tone(wood, 0.85), 4.5)


def lampe(p: Pen) -> None:
    metal = p.pick(STEEL + WOOD)
    p.oval(32, 86, 68, 97, tone(metal, 0.8))
    if p.maybe(0.4):
        p.line([(50, 90), (34, 58), (62, 28)], metal, 2.5)
        p.shape([(54, 18), (66, 24), (90, 44), (60, 52)], p.main)
        p.oval(60, 40, 90, 54, (255, 244, 190))
        return
    p.line([(50, 90), (50, 44)], metal, p.u(2, 9))
    spread = p.u(10, 22)
    p.shape([(50 - spread, 6), (50 + spread, 6), (80, 48), (20, 48)], tone(p.main, 1.25))
    p.pattern(tone(p.main, 0.8), p.pick(("uni", "uni", "rayures")), 6)
    p.oval(20, 45, 80, 51, (255, 240, 190))


def commode(p: Pen) -> None:
    wood, rows = p.pick(WOOD), int(p.u(2, 5.9))
    columns = 1 if p.maybe(0.6) else 2
    p.shape([(10, 14), (90, 14), (84, 6), (16, 6)], tone(wood, 1.25))
    for x in (14, 82):
        p.box(x, 88, x + 4, 98, tone(wood, 0.6))
    p.box(10, 14, 90, 90, wood)
    front = p.main if p.maybe(0.3) else tone(wood, 1.1)
    for i in range(rows):
        for j in range(columns):
            left, top, wide = 13 + j * 74 / columns, 17 + i * 71 / rows, 74 / columns
            p.box(left + 1, top, left + wide - 1, top + 71 / rows - 3, front, 1)
            p.disc(left + wide / 2, top + 34 / rows, 1.8, (50, 46, 40))


# Vaisselle


def tasse(p: Pen) -> None:
    body, h = p.main, p.u(38, 58)
    top, narrow = 78 - h, p.u(0, 8)
    p.arc(62, top + 8, 92, 74, -100, 100, tone(body, 0.8), 5)
    p.shape([(18, top), (74, top), (74 - narrow, 78), (18 + narrow, 78)], body)
    p.oval(18 + narrow, 72, 74 - narrow, 84, body, False)
    p.pattern(p.other, p.pick(CLOTH), p.u(6, 12))
    p.oval(18, top - 7, 74, top + 7, tone(body, 1.3))
    p.oval(22, top - 5, 70, top + 5, p.pick(((70, 42, 24), (230, 228, 220), tone(body, 0.6))))


def assiette(p: Pen) -> None:
    flat = p.u(0.5, 1)
    p.oval(5, 50 - 45 * flat, 95, 50 + 45 * flat, p.pick((WHITE, tone(p.main, 1.5), p.main)))
    p.pattern(tone(p.other, 1.2), p.pick(CLOTH), p.u(6, 14))
    rim = p.u(28, 36)
    p.arc(8, 50 - 42 * flat, 92, 50 + 42 * flat, 0, 360, p.main, p.u(0.5, 3))
    p.oval(50 - rim, 50 - rim * flat, 50 + rim, 50 + rim * flat, (228, 227, 222))
    p.oval(52 - rim, 51 - rim * flat, 48 + rim, 49 + rim * flat, WHITE, False)


def casserole(p: Pen) -> None:
    metal = p.pick((*STEEL, p.main))
    deep = p.u(10, 30)
    p.line([(60, 46), (97, 40 - p.u(0, 14))], (30, 30, 32), 5)
    p.shape([(8, 46), (70, 46), (66, 46 + deep), (12, 46 + deep)], metal)
    p.oval(12, 40 + deep, 66, 52 + deep, metal, False)
    p.oval(8, 36, 70, 56, tone(metal, 1.3))
    p.oval(11, 38, 67, 54, tone(metal, 0.55))
    if p.maybe(0.4):
        p.oval(8, 34, 70, 54, tone(metal, 1.15))
        p.oval(34, 36, 44, 44, (30, 30, 32))


def verre(p: Pen) -> None:
    glass = (206, 222, 228)
    rim = p.u(14, 20)
    p.oval(32, 88, 68, 97, glass)
    p.line([(50, 92), (50, 56)], tone(glass, 0.8), 2.5)
    p.shape([(50 - rim, 8), (50 + rim, 8), (72, 36), (62, 54), (50, 59), (38, 54), (28, 36)], glass)
    if p.maybe(0.6):
        p.shape([(29, 34), (71, 34), (62, 53), (50, 58), (38, 53)], p.pick(((112, 16, 36), (232, 206, 110))))
    p.oval(50 - rim, 5, 50 + rim, 11, tone(glass, 1.5))
    p.line([(36, 18), (34, 38)], (252, 252, 252), 1.5)


def theiere(p: Pen) -> None:
    p.arc(66, 36, 96, 74, -110, 110, tone(p.main, 0.75), 4)
    p.shape([(26, 66), (4, 36), (10, 32), (34, 50)], tone(p.main, 0.9))
    p.oval(18, 32, 78, 88, p.main)
    p.pattern(p.other, p.pick(CLOTH), p.u(7, 13))
    p.oval(32, 27, 64, 39, tone(p.main, 1.2))
    p.disc(48, 24, 4, p.other)


# Linge de maison


def serviettes(p: Pen) -> None:
    count = int(p.u(2, 5.9))
    high = 76 / count
    for i in range(count):
        y, colour = 92 - (i + 1) * high, p.main if i % 2 == 0 or p.maybe() else p.other
        left = p.u(6, 14)
        p.box(left, y, 90, y + high, colour, min(high / 2, 7))
        p.line([(left + 4, y + high / 2), (86, y + high / 2)], tone(colour, 0.75), 1.2)
        if p.maybe():
            p.box(left + 5, y + high * 0.6, 86, y + high * 0.75, tone(colour, 1.4), 0, False)


def coussin(p: Pen) -> None:
    sag = p.u(3, 10)
    left, right = [(50, 93 - sag), (5, 95), (6 + sag, 50)], [(94, 6), (93 - sag, 50), (95, 94)]
    p.shape([(6, 8), (50, 8 + sag), *right, *left], p.main)
    p.pattern(p.other, p.pick(CLOTH[1:]), p.u(7, 18))
    if p.maybe(0.3):
        p.disc(50, 50, 3, tone(p.main, 0.6))
    for x, y in ((20, 20), (80, 22), (22, 80), (78, 78)):
        p.line([(x, y), (50 + (x - 50) * 0.6, 50 + (y - 50) * 0.6)], tone(p.main, 0.8), 0.8)


def rideau(p: Pen) -> None:
    p.line([(2, 7), (98, 7)], p.pick(STEEL + WOOD), 3)
    split = p.u(0, 22)
    x = 4.0
    while x < 95:
        wide = p.u(4, 8)
        if abs(x + wide / 2 - 50) > split:
            fold = tone(p.main, p.u(0.72, 1.15))
            p.shape([(x, 10), (x + wide, 10), (x + wide + p.u(-1, 2), 97), (x - p.u(-1, 2), 97)], fold, False)
            p.disc(x + wide / 2, 8, 2, (120, 120, 120))
        x += wide
    p.pattern(p.other, p.pick(("uni", "uni", "pois", "zigzag")), p.u(9, 18))


def couette(p: Pen) -> None:
    p.box(12, 4, 88, 22, p.pick(WOOD), 3)
    p.shape([(8, 18), (92, 18), (97, 92), (3, 92)], p.main)
    p.pattern(p.other, p.pick(CLOTH), p.u(6, 18))
    p.shape([(7, 36), (93, 36), (94, 46), (6, 46)], tone(p.main, 1.5))
    for x in (13, 53):
        p.box(x, 16, x + 34, 34, tone(p.other, 1.5) if p.maybe() else WHITE, 6)
    for _ in range(4):
        left, top = p.u(10, 80), p.u(52, 86)
        p.line([(left, top), (left + p.u(5, 16), top + p.u(-6, 6))], tone(p.main, 0.75), 1)
