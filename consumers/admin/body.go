package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
)

// maxBody is how many bytes of a body are taken; what a Route reads ends there with a 413.
const maxBody = 64 << 10

// Decode reads the body, one JSON object, into a pointer to a struct of tagged fields: strings, bools, numbers, pointers to
// them, slices of them, and structs of the same. Members that the struct doesn't name, exactly, or that come twice,
// wrong types, null, and trailing data are refused, each by its name, "filter.group".
// Members may be absent. The error is meant to be returned by the Route as it is.
func Decode(r *http.Request, into any) error {
	body, err := read(r)
	if err != nil {
		return err
	}
	target := reflect.ValueOf(into).Elem()
	d := json.NewDecoder(bytes.NewReader(body))
	var f faults
	if !json.Valid(body) {
		f.add("body", "is no JSON, or more than one value")
	} else {
		f.object(d, target, "")
	}
	if len(f) > 0 {
		return &Invalid{f}
	}
	return nil
}

// read returns the body of a call that needs one.
func read(r *http.Request) ([]byte, error) {
	declared := r.Header.Get("Content-Type")
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case err != nil:
		return nil, BadRequest("body", "could not be read to its end")
	case len(body) == 0:
		return nil, BadRequest("body", "is missing")
	}
	media, parameters, err := mime.ParseMediaType(declared)
	if charset := parameters["charset"]; err != nil || media != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return nil, fmt.Errorf("%w: %q", errMediaType, declared)
	}
	return body, nil
}

// mostFaults bounds the answer.
const mostFaults = 50

type faults []Fault

func (f *faults) add(field, message string) {
	if len(*f) < mostFaults {
		*f = append(*f, Fault{field, message})
	}
}

// object reads the next value of valid JSON into a struct.
func (f *faults) object(d *json.Decoder, into reflect.Value, path string) {
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil || raw[0] != '{' {
		f.add(name(path), "must be an object")
		return
	}
	d = json.NewDecoder(bytes.NewReader(raw))
	fields := fieldsOf(into.Type())
	seen := map[string]bool{}
	for _, _ = d.Token(); d.More(); {
		key, _ := d.Token()
		member, _ := key.(string)
		here := strings.TrimPrefix(path+"."+member, ".")
		index, known := fields[member]
		switch {
		case !known:
			f.add(here, "is not known")
		case seen[member]:
			f.add(here, "comes twice")
		}
		if !known || seen[member] {
			var skipped json.RawMessage
			_ = d.Decode(&skipped)
			continue
		}
		seen[member] = true
		field := into.Field(index)
		if field.Kind() == reflect.Struct {
			f.object(d, field, here)
			continue
		}
		var value json.RawMessage
		_ = d.Decode(&value) // valid, as a whole
		if string(value) == "null" || json.Unmarshal(value, field.Addr().Interface()) != nil {
			f.add(here, "must be "+kind(field.Type()))
		}
	}
}

func name(path string) string {
	if path == "" {
		return "body"
	}
	return path
}

// fieldsOf returns the places of a struct's fields by their names in JSON.
func fieldsOf(t reflect.Type) map[string]int {
	fields := map[string]int{}
	for i := range t.NumField() {
		tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		fields[tag] = i
	}
	return fields
}

// kind names what a field takes.
func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return kind(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Float64:
		return "a number"
	default:
		return "an integer"
	}
}
