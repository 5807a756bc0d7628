"""What sellers write about what they sell: the vocabulary of the sample catalogue, in French.

A template chooses between ``[one|other]`` and fills ``<slots>`` from `SLOTS`, as often as it takes.
"""

from __future__ import annotations

SLOTS: dict[str, str] = {
    "n": "2|3|4|5|6|8",
    "ans": "2 ans|3 ans|un an|5 ans|6 mois|10 ans|quelques mois|une dizaine d'années",
    "cm": "20|24|30|32|35|40|45|50|60|70|75|80|90|100|110|120|140|160|180|200",
    "ville": "Lyon|Nantes|Lille|Rennes|Pau|Brest|Metz|Angers|Dijon|Reims|Caen|Limoges|Nice|Toulon|Rouen|Albi",
    "jour": "samedi|dimanche|en semaine|le soir après 18h|mercredi|ce week-end|le midi|après le 15",
    "parent": "ma mère|ma fille|mon fils|mon mari|ma femme|ma belle-mère|mamie|ma soeur|mon frère|mon cousin",
    "fête": "Noël|son anniversaire|la fête des mères|notre mariage|la crémaillère|Pâques|son départ",
    "coloris": "coloris <couleur>|couleur <couleur>|de couleur <couleur>|en <couleur>|<couleur>",
}

GENERIC: tuple[str, ...] = (
    "[Très bon état|Bon état|État correct|Comme neuf|Peu servi|Quasi neuf|Jamais servi|État d'usage]",
    "[Une petite rayure|Un léger défaut|Une trace] [sur le côté|derrière|dessous], [rien de grave|cf photo]",
    "[Acheté|Payé] <neuf> € [il y a <ans>|en magasin|sur internet], je le [laisse|cède] à <prix> €",
    "[Cadeau de|Reçu pour] <fête> [en double|qui ne me plaît pas|jamais utilisé]",
    "[Je déménage|Cause déménagement] à [l'étranger|<ville>|la fin du mois], [tout doit partir|je trie]",
    "[Vide-grenier|Je vide la maison] de <parent>, [plein d'autres choses|faites-moi signe]",
    "À [venir chercher|récupérer|retirer] [à|vers|sur] <ville>, [dispo|disponible] <jour>",
    "[Envoi possible|J'envoie|Livraison] [par la poste|en point relais|en colis] [à vos frais|port <n> €]",
    "[Prix ferme|Prix à débattre|Petit prix|Faire offre], [merci|premier arrivé premier servi]",
    "[Paiement|Règlement] [en espèces|par virement|par chèque accepté|à la remise en main propre]",
    "[Appeler|Me contacter|Écrire] [plutôt le soir|par message|au plus vite], [je réponds vite|merci]",
    "[Maison|Foyer|Appartement] [non fumeur|sans animaux|sans enfant], [tout est propre|rien à signaler]",
    "[Échange possible|J'échange] contre [des livres|un vélo|une plante|des confitures|autre chose]",
    "[Je garde|Je réserve] [sans problème|2 jours maximum|seulement avec acompte]",
    "[Ça prend la place|Ça dort] [au grenier|à la cave|au garage|dans un placard] depuis <ans>",
    "[Facture|Boîte d'origine|Notice] [fournie|perdue|disponible sur demande]",
    "[Appartenait à|Vient de chez|Acheté avec] <parent>, [on y tient|c'est du solide|ça a du vécu]",
    "[Remise|Prix de gros|Lot possible] si vous [prenez plusieurs articles|passez aujourd'hui]",
    "[Erreur d'achat|Achat sur un coup de tête|Double emploi], [ne me convient pas|retour impossible]",
    "[Chien|Chat|Bébé] de la maison [l'a à peine effleuré|n'y a pas touché|l'a ignoré], promis",
    "[Photo|Photos] [prise hier|pas terrible|faite au téléphone], [c'est mieux en vrai|j'en ai plus]",
    "[Réparé|Nettoyé|Vérifié] [par mes soins|la semaine dernière|par <parent>]",
)
"""Sentences that say nothing of the object."""

VAGUE_TITLES: tuple[str, ...] = (
    "[À vendre|A saisir|Bonne affaire|Vends] [comme sur la photo|voir photo|cause déménagement|petit prix]",
    "[Super|Belle|Bonne] [affaire|occasion] [à saisir|à <ville>|urgent|à ne pas rater]",
    "[Objet|Article|Truc] [<couleur>|en bon état|très sympa|à débarrasser|de <parent>]",
    "[Lot|Vide-grenier|Débarras] [de <parent>|à <ville>|voir photo|<prix> €]",
    "[Neuf|Jamais servi|Comme neuf|TBE] [<couleur>|<prix> €|voir description|cadeau en double]",
    "[Cadeau|Idée cadeau] [pour <fête>|original|pas cher|<couleur>]",
    "[Je donne presque|Cède|Liquide] [tout|ceci|cet article], [<prix> €|urgent|faire offre]",
)

VAGUE_DETAILS: tuple[str, ...] = (
    "[Tout est|C'est] sur la photo, [posez vos questions|je ne m'y connais pas|que dire de plus]",
    "[Je ne connais pas la marque|Aucune idée de l'année|Marque effacée], [trouvé|récupéré] chez <parent>",
    "[Fonctionne|Sert] [encore très bien|tous les jours|comme neuf], [beau <couleur>|joli <couleur>]",
    "[Environ|À peu près] <cm> cm, [<coloris>|assez lourd|assez léger|facile à transporter]",
    "[Très pratique|Bien joli|Indispensable], [on ne s'en lasse pas|je regrette déjà|parfait pour offrir]",
    "[Ma photo|L'image] [parle d'elle-même|vaut mieux qu'un long discours|montre tout]",
)

TYPICAL_TITLES: tuple[str, ...] = (
    "<nom> <couleur>",
    "<nom> [très bon état|TBE|comme neuf|neuf|occasion]",
    "[Vends|À vendre|Vds|Cède|Je vends] <nom>",
    "<nom> - <prix> €",
    "[Joli|Superbe|Beau|Magnifique] lot : <nom>",
    "<nom> <couleur> [à <ville>|petit prix|peu servi|urgent]",
    "<nom> [de <parent>|à saisir|vintage|moderne|d'occasion]",
)

REMINDER = "[Je vends|Vends|À saisir :|Belle occasion,|Je cède] <nom> <coloris>"
"""The object named once more, in the description."""

ABBREVIATIONS: dict[str, str] = {
    "très bon état": "TBE", "bon état": "BE", "pour": "pr", "dans": "ds", "avec": "av", "beaucoup": "bcp",
    "disponible": "dispo", "cause": "cse", "environ": "env", "quelques": "qq", "tout": "tt", "comme": "cme",
    "longueur": "long.", "hauteur": "haut.", "diamètre": "diam.", "rendez-vous": "rdv", "samedi": "sam",
}  # fmt: skip
"""What hurried sellers shorten."""
