def count_words(text):
    counts = {}
    for word in text.lower().split():
        word = word.strip(".,;:!?")
        if word:
            counts[word] = counts.get(word, 0) + 1
    return counts


def most_common(counts, limit):
    pairs = sorted(counts.items(), key=lambda pair: pair[1], reverse=True)
    return pairs[:limit]


def print_report(path):
    with open(path) as file:
        counts = count_words(file.read())
    for word, count in most_common(counts, 10):
        print(word, count)
