package deadletter

import (
	"net/url"
	"strconv"
	"unicode/utf8"

	"cartstream/consumers/admin"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// faults are what is wrong with a request.
type faults []admin.Fault

func (f *faults) add(field, message string) {
	*f = append(*f, admin.Fault{Field: field, Message: message})
}

func (f *faults) err() error {
	if len(*f) == 0 {
		return nil
	}
	return &admin.Invalid{Faults: *f}
}

func (f *faults) group(field string, value *string) string {
	if value == nil {
		return ""
	}
	if *value == "" || len(*value) > longestText || !utf8.ValidString(*value) {
		f.add(field, "must be the name of a consumer group")
	}
	return *value
}

func (f *faults) class(field string, value *string) string {
	if value == nil {
		return ""
	}
	switch *value {
	case runner.ClassUndecodable, runner.ClassRejected, runner.ClassExhausted:
	default:
		f.add(field, "must be undecodable, rejected or exhausted")
	}
	return *value
}

func (f *faults) user(field string, value *string) string {
	if value == nil {
		return ""
	}
	if !schemas.ValidID(*value) {
		f.add(field, "must be a user id")
	}
	return *value
}

// parseList reads the parameters of a list. Those that it doesn't know don't matter.
func parseList(raw string) (filter Filter, after *position, limit int, err error) {
	var f faults
	values, err := url.ParseQuery(raw)
	if err != nil {
		f.add("query", "must be name=value pairs, percent-encoded")
	}
	one := func(name string) *string {
		switch all := values[name]; len(all) {
		case 0:
			return nil
		case 1:
			return &all[0]
		}
		f.add(name, "must not be there twice")
		return nil
	}
	filter = Filter{Group: f.group("group", one("group")), Class: f.class("class", one("class")), UserID: f.user("userId", one("userId"))}
	if status := one("status"); status != nil {
		filter.Status = Status(*status)
		switch filter.Status {
		case Parked, Replayed, Superseded, Discarded:
		default:
			f.add("status", "must be parked, replayed, superseded or discarded")
		}
	}
	limit = defaultLimit
	if text := one("limit"); text != nil {
		n, err := strconv.Atoi(*text)
		if err != nil || n < 1 || n > maxLimit || strconv.Itoa(n) != *text {
			f.add("limit", "must be 1 to 100")
		}
		limit = n
	}
	if cursor := one("cursor"); cursor != nil {
		p, err := parsePosition(*cursor)
		if err != nil {
			f.add("cursor", "must be the nextCursor of a page")
		}
		after = &p
	}
	return filter, after, limit, f.err()
}
