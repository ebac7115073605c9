from labkit import check, expect


@check(points=40, kills=["greets-nobody"], arena="only")
def test_says_the_name(bench):
    """Whoever asks is called by name."""
    expect(bench.words()[-1], equals=bench.name, unit="as the name", hints={"you": "a name is no pronoun"})
