"""What is sold: the categories of the sample catalogue, their objects, and what sellers say of each.

The texts are templates; `words` says how they read.
"""

from __future__ import annotations

from dataclasses import dataclass

from headstart.sample import house, personal
from headstart.sample.pen import Drawing


@dataclass(frozen=True)
class Thing:
    """One kind of object: how it is drawn, what it is called, and what is said of it."""

    drawing: Drawing
    names: str
    details: tuple[str, ...]


# fmt: off
BIJOUX = (
    Thing(personal.montre,
          "montre [femme|homme|automatique|à quartz]|montre-bracelet|montre [ancienne|de plongée|chrono]", (
        "[Verre|Cadran] [sans rayure|saphir|un peu rayé|lumineux la nuit]",
        "Bracelet [cuir|acier|silicone] [d'origine|changé], [fermoir à boucle|ajustable|trop grand pour moi]",
        "[Pile neuve|Mouvement automatique|Pile à prévoir], [étanche 50 m|donne l'heure à la minute|révisée]",
        "Je la portais [tous les jours|pour les mariages|peu], [je préfère mon téléphone|j'en ai trois]",
    )),
    Thing(personal.montre_connectee, "montre connectée|bracelet sport connecté|montre [gps|cardio]", (
        "[Compte les pas|Mesure le sommeil|Capteur cardiaque], [écran tactile|bluetooth|batterie 5 jours]",
        "[Chargeur usb|Câble|Bracelet de rechange] [fourni|inclus|en plus], bracelet silicone <couleur>",
        "[Synchronisée|Se relie] avec [l'appli|le téléphone|l'ordinateur], notifications au poignet",
        "[Écran protégé|Verre intact|Film posé], [idéale course à pied|pour la piscine|pour nager]",
    )),
    Thing(personal.bague,
          "bague|alliance|solitaire|bague [de fiançailles|argent 925|plaqué or]|chevalière", (
        "[Taille|Tour de doigt] [50|52|54|56|58], [peut être mise à taille|trop petite pour moi]",
        "[Argent 925|Plaqué or|Or 18 carats|Acier], [poinçon visible|poinçonné|avec écrin]",
        "Pierre [<couleur>|sertie|ovale], [zircon|topaze|grenat|brille beaucoup]",
        "[Bijou de famille|Création artisanale|Fiançailles annulées], [jamais portée|portée deux fois]",
    )),
    Thing(personal.collier,
          "collier|pendentif|chaîne et pendentif|sautoir|collier [perles|fantaisie]|ras-de-cou", (
        "[Chaîne|Maille] [fine|forçat|argent|dorée], longueur <cm> cm, [fermoir ok|fermoir mousqueton]",
        "[Perles|Médaillon|Pendentif] [de culture|émaillé|en forme de goutte|<couleur>]",
        "[Ne noircit pas|Sans nickel|Plaqué or], [se porte court|se porte en double|avec un décolleté]",
        "[Bijou|Parure] [de créateur|ancien|fait main], [écrin|pochette] [compris|en velours]",
    )),
)

MOBILIER = (
    Thing(house.chaise,
          "chaise|chaises de cuisine|chaise [bistrot|en bois|de bureau]|siège|<n> chaises", (
        "[Assise|Dossier] [paillé|en bois|rembourré|<couleur>], [confortable|stable|ne grince pas]",
        "Hauteur d'assise <cm> cm, [empilables|pieds à recoller|patins feutre neufs]",
        "[Bois massif|Hêtre|Chêne|Métal], [repeinte|à repeindre|vernie|à poncer]",
        "[Vendue à l'unité|Lot de <n>|La paire], [va avec une grande table|style scandinave|style rustique]",
    )),
    Thing(house.table,
          "table|table [basse|de salon|à manger|de cuisine|ronde]|guéridon|bureau en bois", (
        "[Plateau|Dessus] [rayé|en verre|en chêne|à huiler], <cm> x <cm> cm, [rallonge|pieds démontables]",
        "[Pour <n> personnes|Avec une rallonge|Pliante], [se démonte|à monter soi-même]",
        "[Chêne massif|Pin|Stratifié|Noyer], [lourde prévoir deux personnes|tient dans un break]",
        "[Ferait un beau bureau|Parfaite petite cuisine|Style industriel], pieds [métal|bois|à roulettes]",
    )),
    Thing(house.lampe,
          "lampe|lampadaire|lampe [de chevet|de bureau|à poser]|luminaire|abat-jour et pied", (
        "[Abat-jour|Pied|Bras] [<couleur>|en tissu|articulé|en laiton], hauteur <cm> cm",
        "[Ampoule|Led] [fournie|à vis E27|non comprise], [interrupteur au pied|variateur|prise usb]",
        "[Lumière douce|Éclaire bien|Parfaite pour lire], [salon|chambre|coin lecture]",
        "[Électricité refaite|Fil à changer|Fonctionne], [style art déco|années 70|design]",
    )),
    Thing(house.commode,
          "commode|meuble à tiroirs|buffet|chiffonnier|meuble de rangement|commode [pin|ancienne]", (
        "<n> tiroirs [qui coulissent bien|profonds|sur rails], [poignées à changer|boutons laiton]",
        "[Largeur|Hauteur] <cm> cm, profondeur <cm> cm, [trop grande pour notre chambre|rentre sous pente]",
        "[Pin|Merisier|Chêne|Aggloméré], [patinée|cirée|à relooker|repeinte <couleur>]",
        "[Idéal entrée|Grand rangement|Sert aussi de table à langer], [démontée|prévoir bras et camion]",
    )),
)

VAISSELLE = (
    Thing(house.tasse, "tasse|mug|<n> mugs|tasse à café|bol et tasse|tasses [grès|porcelaine]", (
        "[Passe|Va] au [lave-vaisselle|micro-ondes], contenance [20|25|30|35] cl, [anse solide|pas d'éclat]",
        "[Grès|Porcelaine|Faïence|Émail], motif [<couleur>|rayé|à pois|peint main]",
        "Pour [le café|le thé|le chocolat du matin], [grande|petite|jolie forme]",
        "[Série de <n>|Vendu seul|Avec soucoupe], [marque dessous|fait par un potier|souvenir de <ville>]",
    )),
    Thing(house.assiette,
          "assiettes|service de table|<n> assiettes plates|assiettes creuses|plat de service", (
        "[Assiettes|Pièces] [sans éclat|légèrement ébréchées|assorties], diamètre [20|24|26|28] cm",
        "[Faïence|Porcelaine de Limoges|Grès|Arcopal], liseré <couleur>",
        "[Pour <n> personnes|Il en manque une|Dépareillées], [plates et creuses|à dessert|avec saladier]",
        "[On ne reçoit plus|Service du dimanche|Vaisselle de famille], [lave-vaisselle ok|à laver à la main]",
    )),
    Thing(house.casserole,
          "casserole|poêle|sauteuse|casserole inox|poêle [antiadhésive|à crêpes]|faitout", (
        "[Fond épais|Tous feux|Compatible induction|Gaz uniquement], diamètre [16|18|20|24|28] cm",
        "[Revêtement|Fond|Manche] [intact|un peu usé|amovible], [n'attache pas|cuit bien]",
        "[Avec couvercle|Sans couvercle|Couvercle verre], [inox|cuivre|fonte|alu]",
        "[Pour mijoter|Pour les pâtes|Pour les crêpes], [cuisine équipée en double|je passe à l'induction]",
    )),
    Thing(house.verre, "verres à pied|verre à vin|<n> verres|flûtes|verres [cristal|ballon|à eau]", (
        "[Cristal|Verre fin|Verre soufflé], [aucun éclat|un verre ébréché|son cristallin]",
        "[Vin rouge|Vin blanc|Champagne|Apéro], contenance [15|20|25|45] cl",
        "Lot de <n>, [bien emballés dans du journal|dans leur carton|à laver à la main]",
        "[Service incomplet|Un cassé au mariage|Hérités], [pied gravé|pied fin|forme tulipe]",
    )),
    Thing(house.theiere,
          "théière|théière [fonte|porcelaine|anglaise]|cafetière émaillée|théière et tasses", (
        "[Bec|Couvercle|Anse] [sans éclat|recollé|bien ajusté], contenance [0,8|1|1,2] litre",
        "[Filtre inox|Passoire|Infuseur] [inclus|manquant], pour [le thé|les tisanes|le café]",
        "[Céramique|Fonte|Porcelaine] <couleur>, [garde la chaleur|culottée|ne goutte pas]",
        "[Ramenée d'Angleterre|Ramenée du Japon|De ma tante], [décorative aussi|pour <n> tasses]",
    )),
)

LINGE = (
    Thing(house.serviettes,
          "serviettes|serviettes de bain|drap de bain|serviettes [éponge|de toilette]|<n> serviettes", (
        "[Éponge|Coton|Nid d'abeille] [épaisse|450 g|bien moelleuse|bio], [lavées à 60|jamais lavées]",
        "[Lot de <n>|Deux grandes et deux petites|Avec gants], <cm> x <cm> cm",
        "[Absorbent bien|Un peu rêches|Douces], [liteau <couleur>|brodées à mes initiales|unies]",
        "[Salle de bain refaite|Trousseau|Pour la plage], [sentent la lessive|repassées|pliées]",
    )),
    Thing(house.coussin,
          "coussin|housse de coussin|<n> coussins|oreiller décoratif|coussin [velours|déhoussable]", (
        "[Housse|Enveloppe] [lavable|à zip|en lin|en velours], garnissage [plume|mousse|fourni]",
        "[40 x 40|50 x 50|45 x 45|60 x 40] cm, [bien gonflé|un peu tassé|ferme]",
        "Pour [le canapé|le lit|la chaise longue], [imprimé|motif ethnique|passepoil <couleur>]",
        "[Cousu main|Fait maison|Tissu ameublement], [taché au dos|passe en machine|coloris tendance]",
    )),
    Thing(house.rideau,
          "rideaux|paire de rideaux|voilage|double rideau|rideaux [occultants|lin|thermiques]", (
        "[À oeillets|À pattes|À ruflette], [hauteur|largeur] <cm> cm, [ourlet à refaire|à raccourcir]",
        "[Occultants|Doublés|Légers], [coupent la lumière|isolent du froid|laissent passer le jour]",
        "[Tringle|Embrasses] [fournie|en plus|non comprises], [chambre|salon|bureau]",
        "[Lin|Velours|Polyester|Coton], [ne se froisse pas|lavés repassés|trop longs chez nous]",
    )),
    Thing(house.couette,
          "housse de couette|parure de lit|couette|draps|plaid|jeté de lit|drap housse", (
        "[140 x 200|200 x 200|220 x 240|90 x 190], [avec taies|deux taies d'oreiller|sans taie]",
        "[Percale|Flanelle|Coton|Lin lavé], [doux|chaud pour l'hiver|léger pour l'été], [imprimé|<couleur>]",
        "[Lavé|Passé au pressing|Repassé], [pas de tache|un accroc minuscule|boutons nacre]",
        "[On a changé de lit|Lit en 160 maintenant|Chambre d'amis], [anti-acarien|garnie duvet|réversible]",
    )),
)

INFORMATIQUE = (
    Thing(personal.portable,
          "ordinateur portable|pc portable|portable [15 pouces|gamer|i5]|ultrabook|notebook", (
        "[8 Go de ram|16 Go|4 Go], [ssd 256|disque 500 Go|ssd neuf], [i3|i5|i7|ryzen]",
        "[Batterie|Chargeur] [tient 3 h|à changer|neuve|d'origine], [windows 10|windows 11|linux] installé",
        "[Écran 15 pouces|Écran 13 pouces|Dalle mate], [webcam ok|wifi ok|touche E capricieuse]",
        "[Parfait bureautique|Pour les cours|Pour jouer], [formaté|réinitialisé|un peu lent au démarrage]",
    )),
    Thing(personal.clavier,
          "clavier|clavier [azerty|sans fil|mécanique|gamer]|clavier usb|clavier et souris", (
        "[Azerty|Qwerty], [touches silencieuses|rétroéclairé|switchs rouges|lettres un peu effacées]",
        "[Sans fil|Filaire usb|Bluetooth], [récepteur fourni|piles neuves|câble tressé]",
        "[Toutes les touches marchent|Barre espace un peu dure|Nettoyé touche par touche]",
        "[Télétravail|Bureau|Jeu], [repose-poignet|pavé numérique|compact]",
    )),
    Thing(personal.souris,
          "souris|souris [sans fil|gamer|verticale|optique]|souris usb|souris et tapis", (
        "[Sans fil|Filaire|Bluetooth], [1600 dpi|molette ok|clics silencieux|<n> boutons]",
        "[Droitier|Gaucher|Petite main|Ergonomique], [tapis offert|récepteur usb inclus]",
        "[Marche sur tous les pc|Compatible mac|Plug and play], [pile fournie|rechargeable]",
        "[Je suis passé au pavé tactile|Reste d'un bureau|Lot d'entreprise], [jeu|bureautique]",
    )),
    Thing(personal.ecran, "écran|moniteur|écran [24 pouces|27 pouces|pc|incurvé]|écran plat", (
        "[Full hd|4k|1920x1080], [hdmi|vga et dvi|displayport], [75 hz|144 hz|60 hz]",
        "[Pas de pixel mort|Un pixel mort|Dalle ips], pied [réglable|fixe|à visser]",
        "[Câbles|Alimentation] [fournis|manquante|d'origine], [pour double écran|pour console]",
        "[Taille|Diagonale] [22|24|27] pouces, [lumineux|reflets légers|haut-parleurs intégrés]",
    )),
    Thing(personal.sacoche,
          "sacoche|serviette en cuir|housse|cartable|sac [ordinateur|pc]|sacoche 15 pouces", (
        "Pour [pc|ordinateur portable|tablette] [13|14|15|17] pouces, [compartiment rembourré|bien protégé]",
        "[Cuir|Nylon|Toile] <couleur>, [bandoulière réglable|poignée solide|fermetures ok]",
        "[Rangement chargeur|Poche souris|Place pour dossiers], [étudiant|cadre|rdv client]",
        "[Sangle pour valise|Imperméable|Légère], [une couture à reprendre|comme neuve|odeur de neuf]",
    )),
)

BEAUTE = (
    Thing(personal.parfum,
          "parfum|eau de toilette|eau de parfum|flacon de parfum|parfum [femme|homme]|brume", (
        "[30|50|75|100] ml, [rempli à 80 %|à peine entamé|encore sous blister|flacon plein]",
        "[Notes|Senteur] [boisées|florales|vanille|agrumes], [tient la journée|légère|entêtante]",
        "[Vaporisateur|Flacon|Bouchon] [ok|neuf|en verre <couleur>], [avec boîte|sans boîte]",
        "[Odeur qui ne me va pas|Trop fort pour moi|Allergie], [authentique|acheté en parfumerie]",
    )),
    Thing(personal.rouge_a_levres,
          "rouge à lèvres|lipstick|rouge à lèvres [mat|satiné]|gloss|baume teinté", (
        "[Teinte|Nuance] [nude|cerise|corail|prune|framboise], [mat|brillant|longue tenue]",
        "[Testé une fois|Jamais ouvert|Échantillon], [désinfecté|hygiène respectée|scellé]",
        "[Ne file pas|Hydrate bien|Vegan], [ne va pas à mon teint|trop foncé|maquillage de fête]",
        "[Raisin|Étui] [intact|doré|aimanté], [lot de <n> teintes|à l'unité]",
    )),
    Thing(personal.tube,
          "crème [visage|mains|corps]|crème hydratante|tube de crème|gel douche|masque|lait corporel", (
        "[Peau|Peaux] [sèche|sensibles|mixte|mature], [sans parfum|à l'aloe vera|karité]",
        "[50|75|150|200] ml, [date|à finir avant] [2026|2027|l'été prochain], [neuf scellé|ouvert une fois]",
        "[Pénètre vite|Ne graisse pas|Sent bon], [le matin|avant le coucher|après le bain]",
        "[Pharmacie|Institut|Box beauté], [ma peau réagit|reçue en double|lot de <n> tubes]",
    )),
    Thing(personal.vernis, "vernis|vernis à ongles|vernis semi-permanent|lot de vernis|kit manucure", (
        "[Séchage rapide|Tient une semaine|Deux couches], teinte <couleur>, [pailleté|mat|laqué]",
        "[Flacon|Pinceau] [plein|propre|jamais ouvert|à moitié], [10|12|15] ml",
        "[Lampe uv|Lime|Dissolvant] [en plus|offert|non fourni], [ongles|manucure maison]",
        "[Lot de <n>|Couleur d'été|Couleur de fête], [n'a pas épaissi|bien secouer|je me ronge les ongles]",
    )),
    Thing(personal.palette,
          "palette maquillage|fards à paupières|palette [nude|yeux]|poudre et blush|coffret maquillage", (
        "[<n> fards|12 teintes|Tons chauds|Tons froids], [mats et irisés|bien pigmentés|faciles à estomper]",
        "[Miroir|Pinceau] [intégré|fourni|un peu rayé], [un fard entamé|juste testée|jamais touchée]",
        "[Yeux|Teint|Blush], [pour débuter|maquilleuse pro|soirée]",
        "[Date|Ouverture] [récente|de cette année], [cruelty free|ne fait pas de chutes|tient bien]",
    )),
)

BEBE = (
    Thing(personal.poussette, "poussette|landau|poussette [canne|combinée|3 roues]|poussette et cosy", (
        "[Capote|Panier|Roues] [<couleur>|pivotantes|à regonfler|ok], [se plie d'une main|freine bien]",
        "[Dès la naissance|Jusqu'à 15 kg|De 6 mois à 3 ans], [harnais 5 points|dossier inclinable]",
        "[Habillage pluie|Chancelière|Cosy] [fourni|en option|jamais servi], [housse lavable|tissu lavé]",
        "[Bébé marche|Deuxième enfant|Nounou], [tient dans le coffre|légère|tout terrain]",
    )),
    Thing(personal.biberon,
          "biberon|biberons|lot de biberons|biberon [verre|anti-colique]|chauffe-biberon", (
        "[Tétine|Tétines] [débit 1|débit 2|neuves|silicone], contenance [150|240|330] ml",
        "[Anti-colique|Sans bpa|Verre], [stérilisés|gradué|passe au chauffe-lait]",
        "[Allaitement finalement|Il ne prend plus le sein|Diversification], [lot de <n>|à l'unité]",
        "[Goulot large|Goupillon offert|Capuchon] [inclus|présent|ok], [lait|petit|nourrisson]",
    )),
    Thing(personal.body,
          "body|pyjama bébé|lot de bodies|vêtements bébé|grenouillère|body manches courtes", (
        "[Taille|Âge] [naissance|1 mois|3 mois|6 mois|12 mois], [taille petit|taille grand|porté trois fois]",
        "[Coton bio|Jersey|Velours], [pressions ok|boutonné dos|col américain], [<couleur>|oursons|rayé]",
        "[Garçon|Fille|Mixte], [il a grandi trop vite|bébé d'été|cadeau de naissance]",
        "[Lot de <n>|Ensemble|Avec bonnet], [lavé lessive douce|sans tache|une tache de compote]",
    )),
    Thing(personal.peluche,
          "doudou|peluche|ours en peluche|doudou [lapin|souris]|jouet d'éveil|peluche musicale", (
        "[Lapin|Ours|Souris|Chat] [tout doux|à câliner|musical|<couleur>], hauteur <cm> cm",
        "[Lavé|Passé en machine|Recousu], [yeux brodés|étiquette coupée|sent la lavande]",
        "[Doudou de secours|Jamais adopté|Cherche un lit], [dès la naissance|norme ce|fille ou garçon]",
        "[Grelot|Hochet|Boîte à musique] [à l'intérieur|qui marche|doux], [pour le lit|pour la poussette]",
    )),
    Thing(personal.tasse_bebe,
          "tasse|tasse [à bec|d'apprentissage]|gobelet|petite tasse à anses|<n> tasses", (
        "[Anti-fuite|Bec souple|Deux anses], [apprentissage|pour les petites mains|dès 6 mois]",
        "[Passe|Va] au [lave-vaisselle|micro-ondes], contenance [18|20|25] cl, sans bpa",
        "[Premiers repas|Crèche|Nounou], [motif animaux|<couleur>|mordillée un peu]",
        "[Avec assiette assortie|Couvercle|Cuillère souple] [incluse|fourni|en plus]",
    )),
    Thing(personal.chaise_haute,
          "chaise haute|chaise [évolutive|repas]|chaise|siège [repas|rehausseur]|transat", (
        "[Tablette|Plateau] [amovible|réglable|lavable], [harnais|repose-pied] [présent|à clipser]",
        "[Dès 6 mois|Jusqu'à 3 ans|Évolutive], [coussin <couleur>|assise lavable|miettes comprises]",
        "[Pliante|Bois|Roulettes], [se range derrière une porte|stable|hauteur <cm> cm]",
        "[Pour les repas|Petite purée|Mange à table maintenant], [pieds démontables|à monter]",
    )),
)
# fmt: on

CATEGORIES: dict[str, tuple[Thing, ...]] = {
    "Montres et bijoux": BIJOUX,
    "Mobilier": MOBILIER,
    "Vaisselle": VAISSELLE,
    "Linge de maison": LINGE,
    "Informatique": INFORMATIQUE,
    "Beauté": BEAUTE,
    "Bébé": BEBE,
}

PRICES: dict[str, tuple[int, int]] = {
    "Montres et bijoux": (8, 250),
    "Mobilier": (10, 200),
    "Vaisselle": (3, 60),
    "Linge de maison": (4, 60),
    "Informatique": (8, 350),
    "Beauté": (3, 60),
    "Bébé": (3, 120),
}
"""The lowest and the highest price asked in each category, in euros."""
