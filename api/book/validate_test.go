package book_test

import (
	"strings"
	"testing"

	"cartstream/api/book"
)

func TestADraft(t *testing.T) {
	with := func(change func(*book.Draft)) book.Draft {
		d := emma
		change(&d)
		return d
	}
	for claim, test := range map[string]struct {
		draft book.Draft
		want  string // the fields at fault
	}{
		"that is whole is valid":                      {emma, ""},
		"without an ISBN is valid":                    {with(func(d *book.Draft) { d.ISBN = "" }), ""},
		"with a hyphenated ISBN is valid":             {with(func(d *book.Draft) { d.ISBN = "978-0-14-143958-7" }), ""},
		"with an old ISBN is valid":                   {with(func(d *book.Draft) { d.ISBN = "0-14-143958-X" }), ""},
		"for nothing and sold out is valid":           {with(func(d *book.Draft) { d.UnitPrice, d.Stock = 0, 0 }), ""},
		"at the upper bounds is valid":                {with(func(d *book.Draft) { d.UnitPrice, d.Stock = book.MaxAmount, book.MaxAmount }), ""},
		"of 500 characters of four bytes is valid":    {with(func(d *book.Draft) { d.Title = strings.Repeat("𝕏", 500) }), ""},
		"of 501 characters is not":                    {with(func(d *book.Draft) { d.Title = strings.Repeat("x", 501) }), "title"},
		"without a title is not":                      {with(func(d *book.Draft) { d.Title = "" }), "title"},
		"without an author is not":                    {with(func(d *book.Draft) { d.Author = "" }), "author"},
		"with a NUL is not":                           {with(func(d *book.Draft) { d.Title = "a\x00b" }), "title"},
		"with a line break is not":                    {with(func(d *book.Draft) { d.Author = "a\nb" }), "author"},
		"with the last of C0 is not":                  {with(func(d *book.Draft) { d.Author = "a\x1fb" }), "author"},
		"that is no UTF-8 is not":                     {with(func(d *book.Draft) { d.Title = "a\xffb" }), "title"},
		"with an overlong ISBN is not":                {with(func(d *book.Draft) { d.ISBN = strings.Repeat("1", 33) }), "isbn"},
		"with a strange ISBN is not":                  {with(func(d *book.Draft) { d.ISBN = "<978>" }), "isbn"},
		"with a negative price is not":                {with(func(d *book.Draft) { d.UnitPrice = -1 }), "unitPrice"},
		"with a price above the bound is not":         {with(func(d *book.Draft) { d.UnitPrice = book.MaxAmount + 1 }), "unitPrice"},
		"with a negative stock is not":                {with(func(d *book.Draft) { d.Stock = -1 }), "stock"},
		"with a stock above the bound is not":         {with(func(d *book.Draft) { d.Stock = book.MaxAmount + 1 }), "stock"},
		"that is empty names all that it must have":   {book.Draft{}, "title author"},
		"with faults everywhere names all its faults": {book.Draft{ISBN: "\n", UnitPrice: -1, Stock: -1}, "title author isbn unitPrice stock"},
	} {
		t.Run(claim, func(t *testing.T) {
			var fields []string
			for _, f := range test.draft.Validate() {
				fields = append(fields, f.Field)
				if f.Message == "" {
					t.Errorf("%s has no message", f.Field)
				}
			}
			equal(t, "the faults", strings.Join(fields, " "), test.want)
		})
	}
}

func TestAPatchIsOnlyCheckedForWhatItHolds(t *testing.T) {
	if faults := (book.Patch{}).Validate(); len(faults) > 0 {
		t.Errorf("an empty patch has faults: %v", faults)
	}
	faults := book.Patch{Title: ptr(""), Stock: ptr(int64(-1))}.Validate()
	if len(faults) != 2 {
		t.Errorf("faults: %v", faults)
	}
}
