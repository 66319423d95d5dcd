package env

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
)

// everything is what either binary takes, in the order of --help: the one place that lists it.
type everything struct {
	API       API
	HTTP      HTTP
	Consumers Consumers
	Redis     Redis
	Kafka     Kafka
	MongoDB   MongoDB
	JWT       JWT
	Mail      Mail
	Links     Links
	Currency  Currency
	Reminders Reminders
	Timers    Timers
	Log       Log
	Traces    Traces
}

// List writes the names that cfg, a pointer to a struct of tagged fields, is read from, with their defaults and what they are.
func List(w io.Writer, cfg any) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	settings(reflect.TypeOf(cfg).Elem(), func(name string, tag reflect.StructTag) { line(t, name, tag) })
	return t.Flush()
}

// line leaves errors to the writer's Flush.
func line(t *tabwriter.Writer, name string, tag reflect.StructTag) {
	_, _ = fmt.Fprintf(t, "%s\t%s\t%s\n", name, tag.Get("envDefault"), tag.Get("help"))
}

// Help writes every name that either binary takes from the environment, with its default and what it is: first those
// that cfg, a pointer to a struct of tagged fields, reads, then those that only the other binary uses. The error may be
// that cfg reads a name which nobody could then learn of.
func Help(w io.Writer, cfg any) error {
	read := map[string]bool{}
	settings(reflect.TypeOf(cfg).Elem(), func(name string, _ reflect.StructTag) { read[name] = true })
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	list := func(wanted bool) {
		settings(reflect.TypeFor[everything](), func(name string, tag reflect.StructTag) {
			if read[name] == wanted {
				line(t, name, tag)
			}
		})
	}
	list(true)
	_, _ = fmt.Fprint(t, "\nThe other binary takes the same environment. What it alone uses does nothing here:\n\n")
	list(false)
	settings(reflect.TypeFor[everything](), func(name string, _ reflect.StructTag) { delete(read, name) })
	for name := range read {
		return fmt.Errorf("%s is read but not listed", name)
	}
	return t.Flush()
}

// settings calls visit for each field within t that is taken from the environment.
func settings(t reflect.Type, visit func(name string, tag reflect.StructTag)) {
	for i := range t.NumField() {
		f := t.Field(i)
		if name, _, _ := strings.Cut(f.Tag.Get("env"), ","); name != "" {
			visit(name, f.Tag)
		} else if f.Type.Kind() == reflect.Struct {
			settings(f.Type, visit)
		}
	}
}
