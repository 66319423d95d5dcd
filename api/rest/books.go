package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"cartstream/api/book"
	"cartstream/schemas"
	"cartstream/schemas/token"
)

func (s *server) getBook(c *gin.Context, _ token.Claims) error {
	var f faults
	bookID := pathID(c, &f)
	if err := f.err(); err != nil {
		return err
	}
	b, err := s.Books.Get(c.Request.Context(), bookID)
	if err != nil {
		return err
	}
	if tag := bookTag(b.Version); fresh(c.Request.Header, tag) {
		h := c.Writer.Header()
		h["Etag"] = []string{tag}
		h["Cache-Control"] = []string{"no-cache"}
		notModified(c)
		return nil
	}
	return sendBook(c, http.StatusOK, b, "no-cache")
}

func (s *server) listBooks(c *gin.Context, _ token.Claims) error {
	var f faults
	q := bookQuery(c.Request.URL.RawQuery, &f)
	if err := f.err(); err != nil {
		return err
	}
	page, err := s.Books.List(c.Request.Context(), q)
	if err != nil {
		return err
	}
	if page.Items == nil {
		page.Items = []schemas.Book{}
	}
	body, err := json.Marshal(page)
	if err != nil {
		return fmt.Errorf("encode a page of books: %w", err)
	}
	c.Writer.Header()["Cache-Control"] = []string{"no-cache"}
	send(c.Writer, http.StatusOK, plainJSON, body)
	return nil
}

// bookQuery reads the parameters of a list. Those that it doesn't know don't matter.
func bookQuery(raw string, f *faults) book.Query {
	var q book.Query
	values, err := url.ParseQuery(raw)
	if err != nil {
		f.add("query", "must be name=value pairs, percent-encoded")
		return q
	}
	one := func(name string) (value string, given bool) {
		all := values[name]
		switch {
		case len(all) == 0:
			return "", false
		case len(all) > 1:
			f.add(name, "must not be there twice")
			return "", false
		case !utf8.ValidString(all[0]):
			f.add(name, "must be UTF-8")
			return "", false
		}
		return all[0], true
	}
	q.Cursor, _ = one("cursor")
	q.Q, _ = one("q")
	if limit, given := one("limit"); given {
		n, err := strconv.Atoi(limit)
		if err != nil || n < 1 || n > book.MaxLimit || strconv.Itoa(n) != limit {
			f.add("limit", fmt.Sprintf("must be 1 to %d", book.MaxLimit))
		}
		q.Limit = n
	}
	if status, given := one("status"); given {
		q.Status = schemas.Availability(status)
		switch q.Status {
		case schemas.Available, schemas.OutOfStock, schemas.Discontinued:
		default:
			f.add("status", "must be available, out_of_stock or discontinued")
		}
	}
	return q
}

func (s *server) createBook(c *gin.Context, _ token.Claims) error {
	var f faults
	q := book.Request{TraceParent: traceParent(c.Request.Header)}
	o, err := s.object(c.Request, &f, onlyJSON, append([]string{"bookId"}, bookFields...)...)
	if err != nil {
		return err
	}
	var bookID string
	if o.has("bookId") {
		bookID = o.id("bookId")
	}
	d := draft(&o)
	if err := f.err(); err != nil {
		return err
	}
	b, err := s.Books.Create(c.Request.Context(), q, bookID, d)
	if err != nil {
		return err
	}
	c.Writer.Header()["Location"] = []string{"/v1/books/" + b.BookID}
	return sendBook(c, http.StatusCreated, b, "no-store")
}

func (s *server) putBook(c *gin.Context, _ token.Claims) error {
	var f faults
	q := bookRequest(c, &f)
	bookID := pathID(c, &f)
	o, err := s.object(c.Request, &f, onlyJSON, bookFields...)
	if err != nil {
		return err
	}
	d := draft(&o)
	if err := f.err(); err != nil {
		return err
	}
	b, err := s.Books.Put(c.Request.Context(), q, bookID, d)
	if err != nil {
		return err
	}
	return sendBook(c, http.StatusOK, b, "no-store")
}

func (s *server) patchBook(c *gin.Context, _ token.Claims) error {
	var f faults
	q := bookRequest(c, &f)
	bookID := pathID(c, &f)
	o, err := s.object(c.Request, &f, patchOrJSON, bookFields...)
	if err != nil {
		return err
	}
	p := patch(&o)
	if err := f.err(); err != nil {
		return err
	}
	b, err := s.Books.Patch(c.Request.Context(), q, bookID, p)
	if err != nil {
		return err
	}
	return sendBook(c, http.StatusOK, b, "no-store")
}

func (s *server) deleteBook(c *gin.Context, _ token.Claims) error {
	var f faults
	q := bookRequest(c, &f)
	bookID := pathID(c, &f)
	if err := s.noBody(c.Request); err != nil {
		return err
	}
	if err := f.err(); err != nil {
		return err
	}
	if err := s.Books.Delete(c.Request.Context(), q, bookID); err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}

func bookRequest(c *gin.Context, f *faults) book.Request {
	h := c.Request.Header
	return book.Request{IfMatch: bookMatch(h, f), TraceParent: traceParent(h)}
}

// bookFields are the members that a book is written with.
var bookFields = []string{"title", "author", "isbn", "unitPrice", "stock"}

// draft reads a whole book: all its fields are there, but for isbn.
func draft(o *object) book.Draft {
	for _, name := range bookFields {
		if name != "isbn" {
			o.required(name)
		}
	}
	p := fields(o)
	if len(*o.faults) > 0 {
		return book.Draft{}
	}
	d := book.Draft{Title: *p.Title, Author: *p.Author, UnitPrice: *p.UnitPrice, Stock: *p.Stock}
	if p.ISBN != nil {
		d.ISBN = *p.ISBN
	}
	return d
}

// patch reads a merge patch: a null removes a field, which only an isbn allows.
func patch(o *object) book.Patch {
	if !o.null("isbn") {
		return fields(o)
	}
	o.drop("isbn")
	p := fields(o)
	none := ""
	p.ISBN = &none
	return p
}

// fields reads those fields of a book that are there.
func fields(o *object) book.Patch {
	var p book.Patch
	text := func(name string, to **string) {
		if o.has(name) {
			if value, ok := o.text(name); ok {
				*to = &value
			}
		}
	}
	amount := func(name string, to **int64) {
		if o.has(name) {
			if value, ok := o.integer(name, 0); ok {
				*to = &value
			}
		}
	}
	text("title", &p.Title)
	text("author", &p.Author)
	text("isbn", &p.ISBN)
	amount("unitPrice", &p.UnitPrice)
	amount("stock", &p.Stock)
	for _, fault := range p.Validate() {
		o.faults.add(fault.Field, fault.Message)
	}
	return p
}

func sendBook(c *gin.Context, status int, b schemas.Book, cache string) error {
	body, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("encode book %s: %w", b.BookID, err)
	}
	h := c.Writer.Header()
	h["Etag"] = []string{bookTag(b.Version)}
	h["Cache-Control"] = []string{cache}
	send(c.Writer, status, plainJSON, body)
	return nil
}
