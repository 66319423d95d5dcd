package book

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// most is how many words a book can have, and longest how many characters such a word can: a character folds to three
// at most. A query beyond either matches no book.
const (
	most    = 2 * MaxText
	longest = 3 * MaxText
)

// indexed returns the words by which a book with these texts is found, sorted, each once. A word with apostrophes in it
// counts as a whole without them and in its parts, so that d'Artagnan is found by dartagnan, artagnan and d'art.
func indexed(texts ...string) []string {
	var all []string
	for _, text := range texts {
		for _, chunk := range chunks(text) {
			parts := strings.FieldsFunc(chunk, isApostrophe)
			all = append(all, parts...)
			if len(parts) > 1 {
				all = append(all, strings.Join(parts, ""))
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// sought returns the words that a query asks for, without those that another one implies. ok is false where no book can
// have them all.
func sought(query string) (words []string, ok bool) {
	for _, chunk := range chunks(query) {
		if word := strings.Join(strings.FieldsFunc(chunk, isApostrophe), ""); word != "" {
			words = append(words, word)
		}
	}
	// Sorted, a word stands right before those that it is the start of.
	slices.Sort(words)
	kept := words[:0]
	for i, word := range words {
		if i+1 == len(words) || !strings.HasPrefix(words[i+1], word) {
			kept = append(kept, word)
		}
	}
	tooLong := slices.ContainsFunc(kept, func(w string) bool { return utf8.RuneCountInString(w) > longest })
	return kept, len(kept) <= most && !tooLong
}

// chunks folds the text and cuts it at everything but letters, digits, the marks that make up letters, and apostrophes.
func chunks(text string) []string {
	return strings.FieldsFunc(fold(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) && !isApostrophe(r)
	})
}

func isApostrophe(r rune) bool {
	return r == '\'' || r == '’' || r == '‘' || r == 'ʼ'
}

// letters are those that are letters of their own, not accented ones, to Unicode, and yet are typed without the stroke
// where a keyboard lacks them. ß needs no entry: it folds to ss.
var letters = strings.NewReplacer(
	"æ", "ae", "œ", "oe", "ø", "o", "đ", "d", "ð", "d", "þ", "th", "ł", "l", "ħ", "h", "ŧ", "t", "ı", "i", "ĳ", "ij",
)

// fold takes case and accents out of the text. Vowel signs of Indic scripts and the voicing of kana stay, since words
// differ in nothing else.
func fold(text string) string {
	var b strings.Builder
	for _, r := range norm.NFD.String(text) {
		if !isAccent(r) {
			b.WriteRune(r)
		}
	}
	return norm.NFC.String(letters.Replace(cases.Fold().String(b.String())))
}

func isAccent(r rune) bool {
	const voiced, semivoiced = '\u3099', '\u309A'
	return unicode.Is(unicode.Mn, r) && r != voiced && r != semivoiced &&
		unicode.In(r, unicode.Inherited, unicode.Hebrew, unicode.Arabic)
}
