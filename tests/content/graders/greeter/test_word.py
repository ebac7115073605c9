from labkit import check, expect


@check(points=60, kills=["knows-one-word"], arena="only")
def test_says_the_word(bench):
    """The word of the setting is said."""
    expect(bench.words()[0], equals="moin", unit="as the word", hints={"": "nothing is said yet"})
