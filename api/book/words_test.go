package book

import (
	"slices"
	"strings"
	"testing"
)

func TestAQueryFindsATitle(t *testing.T) {
	for claim, test := range map[string]struct {
		query, title string
		found        bool
	}{
		"by a whole word":                           {"emma", "Emma", true},
		"by the start of a word":                    {"em", "Emma", true},
		"by the start of a later word":              {"prej", "Pride and Prejudice", true},
		"by words in any order":                     {"prejudice PRIDE", "Pride and Prejudice", true},
		"not by the middle of a word":               {"mma", "Emma", false},
		"not where one of the words is missing":     {"pride sense", "Pride and Prejudice", false},
		"by one word for two words of the query":    {"pri pride", "Pride and Prejudice", true},
		"without accents":                           {"miserables", "Les Misérables", true},
		"with accents that the title lacks":         {"Émma", "Emma", true},
		"whatever way the accents are written":      {"Les Mise\u0301rables", "Les Mis\u00e9rables", true},
		"with ss for ß":                             {"strasse", "Die Straße", true},
		"with ß for ss":                             {"straße", "STRASSE", true},
		"with a for ä":                              {"marchen", "Märchen", true},
		"with o for ø":                              {"soren", "Søren", true},
		"with ae for æ":                             {"aesop", "Æsop’s Fables", true},
		"with oe for œ":                             {"oeuvres", "Œuvres", true},
		"with l for ł":                              {"lodz", "Łódź", true},
		"with d for ð and th for þ":                 {"nidthor", "Niðþór", true},
		"with i for the Turkish dotless i":          {"isik", "Işık", true},
		"with i for the Turkish dotted I":           {"istanbul", "İSTANBUL", true},
		"in Greek, final sigma and tonos aside":     {"ΟΔΥΣΣΕΥΣ", "Οδυσσεύς", true},
		"in Greek, iota subscript aside":            {"ωδη", "ᾠδή", true},
		"in Cyrillic":                               {"война", "Война и мир", true},
		"in Hebrew, with points or without":         {"שלום", "שָׁלוֹם", true},
		"in Arabic, with vowel signs or without":    {"كتاب", "كِتَاب", true},
		"in Hindi, where vowel signs do matter":     {"कि", "कु", false},
		"in Japanese, where voicing does matter":    {"か", "が", false},
		"in Chinese, from the start of a run":       {"紅樓", "紅樓夢", true},
		"with a ligature spelled out":               {"office", "The O\ufb03ce", true},
		"with the apostrophe":                       {"gulliver's", "Gulliver’s Travels", true},
		"without the apostrophe":                    {"gullivers", "Gulliver's Travels", true},
		"up to the apostrophe":                      {"gulliver", "Gulliver's Travels", true},
		"after the apostrophe":                      {"artagnan", "D’Artagnan", true},
		"with an apostrophe that the title lacks":   {"Finnegan's", "Finnegans Wake", true},
		"by quoted words":                           {"'emma' \"emma\"", "Emma", true},
		"by a part of a hyphenated word":            {"nine", "Thirty-Nine Steps", true},
		"by a hyphenated word":                      {"thirty-nine", "The Thirty-Nine Steps", true},
		"by initials":                               {"h.g. wells", "H. G. Wells", true},
		"by a number":                               {"000", "20,000 Leagues", true},
		"by nothing but punctuation, as by nothing": {"?! …", "Emma", true},
		"by nothing":                                {"", "", true},
	} {
		t.Run(claim, func(t *testing.T) {
			words, ok := sought(test.query)
			if !ok {
				t.Fatal("the query can't be met")
			}
			index := indexed(test.title)
			found := !slices.ContainsFunc(words, func(w string) bool {
				return !slices.ContainsFunc(index, func(i string) bool { return strings.HasPrefix(i, w) })
			})
			if found != test.found {
				t.Errorf("found is %v with %q in %q", found, words, index)
			}
		})
	}
}

func TestAQuery(t *testing.T) {
	for claim, test := range map[string]struct {
		query string
		want  []string
		ok    bool
	}{
		"asks for each word once":                            {"b a b A á", []string{"a", "b"}, true},
		"doesn't ask for what another word implies":          {"em emma e other", []string{"emma", "other"}, true},
		"of more words than a book can have matches nothing": {manyWords(most + 1), nil, false},
		"with a longer word than any book has, too":          {strings.Repeat("x", longest+1), nil, false},
		"of as many words as a book can have may match":      {manyWords(most), nil, true},
	} {
		t.Run(claim, func(t *testing.T) {
			words, ok := sought(test.query)
			if ok != test.ok || test.want != nil && !slices.Equal(words, test.want) {
				t.Errorf("it asks for %d words (%v), want %q (%v)", len(words), ok, test.want, test.ok)
			}
		})
	}
}

// manyWords returns n words, none of which starts another.
func manyWords(n int) string {
	words := make([]string, n)
	for i := range words {
		words[i] = string(rune(0x4E00 + i))
	}
	return strings.Join(words, " ")
}

func TestNoBookHasMoreOrLongerWordsThanAQueryMayAskFor(t *testing.T) {
	for claim, text := range map[string]string{
		"many":         strings.Repeat("a ", MaxText/2),
		"apostrophes":  strings.Repeat("a'", MaxText/2),
		"ligatures":    strings.Repeat("\ufb03", MaxText),
		"decomposable": strings.Repeat("\u0390", MaxText),
	} {
		for _, word := range indexed(text, text) {
			if len([]rune(word)) > longest {
				t.Errorf("%s: a word of %d characters", claim, len([]rune(word)))
			}
		}
	}
}

func TestIdsSortByTimeAndDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newID(timeAt(1_700_000_000_000))
		if seen[id] {
			t.Fatalf("%s came twice", id)
		}
		seen[id] = true
		if earlier := newID(timeAt(1_699_999_999_999)); earlier >= id {
			t.Fatalf("%s is not before %s", earlier, id)
		}
	}
}
