"""The sentences of the world-facts corpus: questions (`?`) and passages (`=`) of each fact kind in each language.

Names come out of CLDR uninflected. A sentence therefore uses a name only where the language leaves it as it is: before
or after a colon, in quotation marks, or next to a particle that asks for no ending.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phrasings:
    """Ways to say one kind of fact in one language; `{place}` and `{answer}` stand for the names."""

    queries: tuple[str, ...]
    passages: tuple[str, ...]


_SENTENCES = """
[ar]
currency ? ما العملة المستخدمة في {place}؟
currency ? بأي عملة يدفع الناس في {place}؟
currency ? ما اسم العملة الرسمية في {place}؟
currency = العملة الرسمية في {place} هي «{answer}»، وبها تُحدَّد الأسعار والأجور هناك.
currency = {place}: العملة المتداولة هي «{answer}»، وهي وسيلة الدفع القانونية هناك.
language ? ما اللغة الرسمية في {place}؟
language ? بأي لغة تعمل السلطات في {place}؟
language ? أي لغة لها صفة رسمية في {place}؟
language = من اللغات الرسمية في {place}: {answer}. ويمكن استخدامها في التعامل مع السلطات هناك.
language = {place}: اللغة التي لها صفة رسمية هي {answer}.
code ? ما رمز {place} الدولي المكوّن من حرفين؟
code ? أي حرفين يرمزان إلى {place}؟
code ? بأي حرفين يُختصر اسم {place} في القوائم الدولية؟
code = الرمز الدولي المكوّن من حرفين الذي يدل على {place} هو {answer}، وهو محدد في معيار ISO 3166.
code = {place}: الاختصار المعتاد في القوائم الدولية يتكون من الحرفين {answer}.
[de]
currency ? {place}: Welche Währung gilt dort?
currency ? Mit welchem Geld bezahlt man an diesem Ort: {place}?
currency ? Wie heißt die amtliche Währung im Gebiet „{place}“?
currency = {place}: Die amtliche Währung heißt „{answer}“. In ihr werden dort Preise und Löhne angegeben.
currency = Gesetzliches Zahlungsmittel im Gebiet „{place}“ ist die Währung „{answer}“.
language ? {place}: Welche Sprache ist dort Amtssprache?
language ? In welcher Sprache arbeiten die Behörden an diesem Ort: {place}?
language ? Welche Amtssprache hat das Gebiet „{place}“?
language = {place}: Eine Amtssprache ist {answer}. Sie kann dort im Umgang mit Behörden verwendet werden.
language = Im Gebiet „{place}“ gilt {answer} als offizielle Sprache.
code ? Welcher zweibuchstabige Ländercode steht für „{place}“?
code ? {place}: Wie lautet das Länderkürzel aus zwei Buchstaben?
code ? Mit welchen zwei Buchstaben kürzt man „{place}“ international ab?
code = Der zweibuchstabige Ländercode für „{place}“ lautet {answer}. Er ist in der Norm ISO 3166 festgelegt.
code = {place}: Das international übliche Kürzel besteht aus den Buchstaben {answer}.
[en]
currency ? {place}: which currency is used there?
currency ? What money do people pay with in this place: {place}?
currency ? What is the official currency of the territory named “{place}”?
currency = {place}: the official currency is called “{answer}”. Prices and wages there are stated in it.
currency = In the territory named “{place}”, the legal tender is the currency “{answer}”.
language ? {place}: which language is official there?
language ? In which language do the authorities work in this place: {place}?
language ? What is an official language of the territory named “{place}”?
language = {place}: one official language is {answer}. It can be used there in dealings with the authorities.
language = In the territory named “{place}”, {answer} has the status of an official language.
code ? Which two-letter country code stands for “{place}”?
code ? {place}: what is the two-letter code?
code ? By which two letters is “{place}” abbreviated internationally?
code = The two-letter country code for “{place}” is {answer}. It is laid down in the standard ISO 3166.
code = {place}: the usual international abbreviation consists of the letters {answer}.
[es]
currency ? ¿Qué moneda se usa en {place}?
currency ? {place}: ¿con qué dinero se paga allí?
currency ? ¿Cómo se llama la moneda oficial del territorio «{place}»?
currency = {place}: la moneda oficial se llama «{answer}». En ella se expresan allí los precios y los salarios.
currency = En {place}, la moneda de curso legal es la siguiente: {answer}.
language ? ¿Qué idioma es oficial en {place}?
language ? {place}: ¿en qué lengua trabajan las autoridades?
language ? ¿Qué lengua tiene carácter oficial en el territorio «{place}»?
language = En {place} es oficial el siguiente idioma: {answer}. Se puede usar en los trámites con las autoridades.
language = {place}: entre las lenguas con carácter oficial figura el idioma «{answer}».
code ? ¿Qué código de país de dos letras corresponde a «{place}»?
code ? {place}: ¿cuál es el código de dos letras?
code ? ¿Con qué dos letras se abrevia «{place}» en las listas internacionales?
code = El código de país de dos letras que corresponde a «{place}» es {answer}. Está fijado en la norma ISO 3166.
code = {place}: la abreviatura internacional habitual consta de las letras {answer}.
[fr]
currency ? {place} : quelle monnaie y est utilisée ?
currency ? Avec quelle monnaie paie-t-on à cet endroit : {place} ?
currency ? Quelle est la monnaie officielle du territoire « {place} » ?
currency = {place} : la monnaie officielle s’appelle « {answer} ». Les prix y sont exprimés dans cette monnaie.
currency = Sur le territoire « {place} », la monnaie ayant cours légal est la suivante : {answer}.
language ? {place} : quelle langue y est officielle ?
language ? Dans quelle langue travaillent les autorités à cet endroit : {place} ?
language ? Quelle langue a un statut officiel sur le territoire « {place} » ?
language = {place} : l’une des langues officielles s’appelle « {answer} ». Elle peut servir auprès des autorités.
language = Sur le territoire « {place} », la langue suivante a un statut officiel : {answer}.
code ? Quel code pays à deux lettres désigne « {place} » ?
code ? {place} : quel est le code à deux lettres ?
code ? Par quelles deux lettres abrège-t-on « {place} » à l’international ?
code = Le code pays à deux lettres pour « {place} » est {answer}. Il est fixé par la norme ISO 3166.
code = {place} : l’abréviation internationale usuelle se compose des lettres {answer}.
[hi]
currency ? {place} में कौन-सी मुद्रा चलती है?
currency ? {place} की आधिकारिक मुद्रा का नाम क्या है?
currency ? {place} में लोग किस मुद्रा में भुगतान करते हैं?
currency = {place} की आधिकारिक मुद्रा का नाम “{answer}” है। वहाँ कीमतें और वेतन इसी मुद्रा में बताए जाते हैं।
currency = {place} में वैध मुद्रा यह है: {answer}।
language ? {place} की आधिकारिक भाषा कौन-सी है?
language ? {place} में सरकारी कामकाज किस भाषा में होता है?
language ? {place} में किस भाषा को आधिकारिक दर्जा प्राप्त है?
language = {place} की एक आधिकारिक भाषा {answer} है। वहाँ सरकारी दफ़्तरों में इसका प्रयोग किया जा सकता है।
language = {place} में {answer} को आधिकारिक भाषा का दर्जा प्राप्त है।
code ? {place} का दो अक्षरों वाला देश कोड क्या है?
code ? कौन-से दो अक्षर {place} को दर्शाते हैं?
code ? अंतरराष्ट्रीय सूचियों में {place} के लिए कौन-से दो अक्षर लिखे जाते हैं?
code = {place} का दो अक्षरों वाला देश कोड {answer} है। यह कोड ISO 3166 मानक में तय किया गया है।
code = अंतरराष्ट्रीय सूचियों में {place} को {answer} अक्षरों से दर्शाया जाता है।
[it]
currency ? {place}: quale valuta si usa?
currency ? Con quale moneta si paga in questo luogo: {place}?
currency ? Qual è la valuta ufficiale del territorio «{place}»?
currency = {place}: la valuta ufficiale si chiama «{answer}». Prezzi e stipendi vi sono espressi in questa valuta.
currency = Nel territorio «{place}» la moneta a corso legale è la seguente: {answer}.
language ? {place}: quale lingua è ufficiale?
language ? In quale lingua lavorano le autorità in questo luogo: {place}?
language ? Quale lingua ha carattere ufficiale nel territorio «{place}»?
language = Una lingua ufficiale del territorio «{place}» è la seguente: {answer}. Si può usare con le autorità.
language = {place}: ha carattere ufficiale la lingua «{answer}».
code ? Quale codice paese di due lettere indica «{place}»?
code ? {place}: qual è il codice di due lettere?
code ? Con quali due lettere si abbrevia «{place}» a livello internazionale?
code = Il codice paese di due lettere per «{place}» è {answer}. È stabilito dalla norma ISO 3166.
code = {place}: l’abbreviazione internazionale consueta è formata dalle lettere {answer}.
[ja]
currency ? {place}で使われている通貨は何ですか？
currency ? {place}ではどの通貨で支払いますか？
currency ? {place}の公式通貨の名前を教えてください。
currency = {place}の公式通貨は{answer}です。現地の物価や給料はこの通貨で表されます。
currency = {place}では、{answer}が法定通貨として使われています。
language ? {place}の公用語は何ですか？
language ? {place}の役所では何語が使われていますか？
language ? {place}で公的な地位を持つ言語はどれですか？
language = {place}の公用語の一つは{answer}です。役所での手続きに使うことができます。
language = {place}では、{answer}が公用語として認められています。
code ? {place}の2文字の国コードは何ですか？
code ? {place}を表す2文字の略号を教えてください。
code ? 国際的な一覧で、{place}はどの2文字で示されますか？
code = {place}の2文字の国コードは{answer}です。このコードはISO 3166規格で定められています。
code = 国際的な一覧では、{place}は{answer}という2文字で示されます。
[ru]
currency ? {place}: какая валюта там используется?
currency ? Какими деньгами платят в этом месте: {place}?
currency ? Как называется официальная валюта территории «{place}»?
currency = {place}: официальная валюта называется «{answer}». В ней там указывают цены и зарплаты.
currency = На территории «{place}» законным платёжным средством является валюта «{answer}».
language ? {place}: какой язык там официальный?
language ? На каком языке работают власти в этом месте: {place}?
language ? Какой язык имеет официальный статус на территории «{place}»?
language = {place}: один из официальных языков — {answer}. На нём можно обращаться в органы власти.
language = На территории «{place}» официальный статус имеет следующий язык: {answer}.
code ? Какой двухбуквенный код страны соответствует названию «{place}»?
code ? {place}: каков двухбуквенный код?
code ? Какими двумя буквами в международных списках обозначается «{place}»?
code = Названию «{place}» соответствует двухбуквенный код {answer}. Он закреплён в стандарте ISO 3166.
code = {place}: принятое международное сокращение состоит из букв {answer}.
[tr]
currency ? {place} hangi para birimini kullanıyor?
currency ? {place} için resmî para birimi nedir?
currency ? Şu yerde hangi parayla ödeme yapılır: {place}?
currency = {place} için resmî para birimi şudur: {answer}. Orada fiyatlar ve ücretler bu para birimiyle belirtilir.
currency = “{place}” adlı bölgede yasal ödeme aracı olan para birimi: {answer}.
language ? {place} için resmî dil hangisidir?
language ? Şu yerde resmî makamlar hangi dilde çalışır: {place}?
language ? “{place}” adlı bölgede hangi dil resmî statüye sahiptir?
language = {place} için resmî dillerden biri şudur: {answer}. Resmî makamlarla iletişimde bu dil kullanılabilir.
language = “{place}” adlı bölgede {answer} resmî dil statüsüne sahiptir.
code ? {place} için iki harfli ülke kodu nedir?
code ? Hangi iki harf “{place}” adının yerine kullanılır?
code ? Uluslararası listelerde {place} hangi iki harfle gösterilir?
code = {place} için iki harfli ülke kodu şudur: {answer}. Bu kod ISO 3166 standardında belirlenmiştir.
code = Uluslararası listelerde {place} şu iki harfle gösterilir: {answer}.
[vi]
currency ? {place} sử dụng loại tiền tệ nào?
currency ? Người dân ở {place} trả bằng tiền gì?
currency ? Đơn vị tiền tệ chính thức của {place} tên là gì?
currency = Đơn vị tiền tệ chính thức của {place} là {answer}. Giá cả và tiền lương ở đó được tính bằng loại tiền này.
currency = Ở {place}, đồng tiền hợp pháp để thanh toán là {answer}.
language ? Ngôn ngữ chính thức của {place} là gì?
language ? Chính quyền ở {place} làm việc bằng ngôn ngữ nào?
language ? Ngôn ngữ nào có địa vị chính thức ở {place}?
language = Một ngôn ngữ chính thức của {place} là {answer}. Có thể dùng ngôn ngữ này khi làm việc với chính quyền.
language = Ở {place}, ngôn ngữ có địa vị chính thức là {answer}.
code ? Mã quốc gia gồm hai chữ cái của {place} là gì?
code ? Hai chữ cái nào là ký hiệu của {place}?
code ? Trong các danh sách quốc tế, {place} được viết tắt bằng hai chữ cái nào?
code = Mã quốc gia gồm hai chữ cái của {place} là {answer}. Mã này được quy định trong tiêu chuẩn ISO 3166.
code = Trong các danh sách quốc tế, {place} được viết tắt bằng hai chữ cái {answer}.
[zh]
currency ? {place}使用什么货币？
currency ? 在{place}用哪种钱付款？
currency ? {place}的官方货币叫什么？
currency = {place}的官方货币是{answer}。当地的物价和工资都用这种货币表示。
currency = 在{place}，法定货币是{answer}。
language ? {place}的官方语言是什么？
language ? {place}的政府机关使用哪种语言办公？
language ? 在{place}，哪种语言具有官方地位？
language = {place}的官方语言之一是{answer}。与政府机关打交道时可以使用这种语言。
language = 在{place}，{answer}具有官方语言的地位。
code ? {place}的两字母国家代码是什么？
code ? 哪两个字母代表{place}？
code ? 在国际名单中，{place}用哪两个字母缩写？
code = {place}的两字母国家代码是{answer}。这一代码由ISO 3166标准规定。
code = 在国际名单中，{place}缩写为{answer}。
"""


def _parse(sentences: str) -> dict[str, dict[str, Phrasings]]:
    found: dict[str, dict[str, Phrasings]] = {}
    lang = ""
    for line in sentences.strip().splitlines():
        if line.startswith("["):
            lang = line.strip("[]")
            found[lang] = {}
            continue
        kind, mark, text = line.split(" ", 2)
        sofar = found[lang].get(kind, Phrasings((), ()))
        if mark == "?":
            found[lang][kind] = Phrasings((*sofar.queries, text), sofar.passages)
        else:
            found[lang][kind] = Phrasings(sofar.queries, (*sofar.passages, text))
    return found


PHRASINGS = _parse(_SENTENCES)
"""Language, then fact kind, to its phrasings."""

LANGUAGES = tuple(PHRASINGS)
"""The twelve languages of the corpus, sorted."""
