package rest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// The media types of request bodies.
const (
	plainJSON  = "application/json"
	mergePatch = "application/merge-patch+json"
)

// What a body may be.
var (
	onlyJSON    = []string{plainJSON}
	patchOrJSON = []string{mergePatch, plainJSON}
)

// object reads the request's body, of one of the media types, as an object with no other members than the known ones.
// What is wrong with it is added to f, but for its size and its media type, which are errors.
func (s *server) object(r *http.Request, f *faults, types []string, known ...string) (object, error) {
	body, err := s.body(r, f, types)
	if err != nil {
		return object{}, err
	}
	return parse(body, f, known...), nil
}

// body reads the request's body of one of the media types. No more than the limit is ever read. The error is errTooLarge
// or errMediaType; a body that is missing, or can't be read to its end, is nil and a fault.
func (s *server) body(r *http.Request, f *faults, types []string) ([]byte, error) {
	if r.ContentLength > s.BodyLimit {
		return nil, errTooLarge
	}
	declared := r.Header["Content-Type"]
	if len(declared) > 0 && !isOneOf(declared, types) {
		return nil, fmt.Errorf("%w: %q", errMediaType, declared)
	}
	var b bytes.Buffer
	if r.ContentLength > 0 {
		b.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	n, err := b.ReadFrom(io.LimitReader(r.Body, s.BodyLimit+1))
	switch {
	case n > s.BodyLimit:
		return nil, errTooLarge
	case err != nil:
		f.add("body", "could not be read to its end")
		return nil, nil
	case n == 0:
		f.add("body", "is missing")
		return nil, nil
	case len(declared) == 0:
		return nil, fmt.Errorf("%w: none named", errMediaType)
	}
	return b.Bytes(), nil
}

// isOneOf reports whether the Content-Type is one of the types, in UTF-8.
func isOneOf(declared, types []string) bool {
	if len(declared) != 1 {
		return false
	}
	if slices.Contains(types, declared[0]) {
		return true
	}
	media, parameters, err := mime.ParseMediaType(declared[0])
	if err != nil || !slices.Contains(types, media) {
		return false
	}
	charset, named := parameters["charset"]
	return !named || strings.EqualFold(charset, "utf-8")
}

// noBody drops the body of a call that has none: what it says doesn't matter, but its size does.
func (s *server) noBody(r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	if r.ContentLength > s.BodyLimit {
		return errTooLarge
	}
	n, err := io.Copy(io.Discard, io.LimitReader(r.Body, s.BodyLimit+1))
	switch {
	case n > s.BodyLimit:
		return errTooLarge
	case err != nil && !errors.Is(err, io.EOF):
		return &invalid{[]Fault{{"body", "could not be read to its end"}}}
	}
	return nil
}
