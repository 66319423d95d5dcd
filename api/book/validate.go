package book

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"cartstream/schemas"
)

// The bounds of a book's fields.
const (
	MaxText   = 500         // characters of a title and of an author, at least 1
	MaxAmount = 999_999_999 // of a price in minor units, and of a stock
)

// FieldError says what is wrong with one field, in words that its sender may read. Field is its name in JSON.
type FieldError struct{ Field, Message string }

// Invalid says that fields are out of their bounds. Nothing was changed.
type Invalid struct{ Fields []FieldError }

func (e *Invalid) Error() string {
	all := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		all[i] = f.Field + ": " + f.Message
	}
	return "invalid: " + strings.Join(all, "; ")
}

func invalid(faults []FieldError) error {
	if len(faults) == 0 {
		return nil
	}
	return &Invalid{Fields: faults}
}

// Validate returns every fault of the draft, none if it may be stored.
func (d Draft) Validate() []FieldError {
	return Patch{Title: &d.Title, Author: &d.Author, ISBN: &d.ISBN, UnitPrice: &d.UnitPrice, Stock: &d.Stock}.Validate()
}

// Validate returns every fault of the fields that the patch holds.
func (p Patch) Validate() []FieldError {
	var faults []FieldError
	add := func(field, message string) {
		if message != "" {
			faults = append(faults, FieldError{field, message})
		}
	}
	add("title", checkText(p.Title))
	add("author", checkText(p.Author))
	add("isbn", checkISBN(p.ISBN))
	add("unitPrice", checkAmount(p.UnitPrice))
	add("stock", checkAmount(p.Stock))
	return faults
}

func checkText(s *string) string {
	switch {
	case s == nil:
		return ""
	case !utf8.ValidString(*s):
		return "must be valid UTF-8"
	case *s == "" || utf8.RuneCountInString(*s) > MaxText:
		return fmt.Sprintf("must have 1 to %d characters", MaxText)
	case strings.ContainsFunc(*s, func(r rune) bool { return r < ' ' }):
		return "must not contain control characters"
	}
	return ""
}

// isbn lets pass what is printed in books, wrong check digits included: those exist, and the catalogue identifies a book
// by its id.
var isbn = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z -]{0,31}$`)

func checkISBN(s *string) string {
	if s == nil || *s == "" || isbn.MatchString(*s) {
		return ""
	}
	return "must have 1 to 32 digits, letters, hyphens or blanks"
}

func checkAmount(n *int64) string {
	if n == nil || *n >= 0 && *n <= MaxAmount {
		return ""
	}
	return fmt.Sprintf("must be 0 to %d", MaxAmount)
}

func checkID(bookID string) []FieldError {
	if schemas.ValidID(bookID) {
		return nil
	}
	return []FieldError{{"bookId", "must have 1 to 64 of the characters A-Z a-z 0-9 . _ : @ -"}}
}
