// Package env is the environment that both binaries take, as the contract names it: the shared settings, and what they
// mean for each engine's client. Each binary embeds the structs in one of its own and reads it with Parse.
package env

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"strings"

	parse "github.com/caarlos0/env/v11"
)

// checker is a group of settings that can be wrong in ways that a type can't tell.
type checker interface{ check() []error }

// Parse reads the environment into cfg, a pointer to a struct of tagged fields, and reports everything that is wrong
// with it at once, one fault a line. No error shows the value of a secret.
func Parse(cfg any) error {
	var faults []error
	unread := map[string]bool{} // variables that could not be read: their fields are zero, which is nobody's fault
	if err := parse.Parse(cfg); err != nil {
		var all parse.AggregateError
		if !errors.As(err, &all) {
			return fmt.Errorf("environment: %w", err)
		}
		for _, fault := range all.Errors {
			var malformed parse.ParseError
			if errors.As(fault, &malformed) {
				name := variable(reflect.TypeOf(cfg).Elem(), malformed.Name)
				unread[name] = true
				fault = fmt.Errorf("%s: %w", name, malformed.Err)
			}
			faults = append(faults, fault)
		}
	}
	groups(reflect.ValueOf(cfg).Elem(), func(c checker) {
		for _, fault := range c.check() {
			if name, _, _ := strings.Cut(fault.Error(), " "); !unread[name] {
				faults = append(faults, fault)
			}
		}
	})
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("environment: %w", errors.Join(faults...))
}

// variable returns the name that a field takes from the environment.
func variable(t reflect.Type, field string) string {
	for i := range t.NumField() {
		f := t.Field(i)
		if name, _, _ := strings.Cut(f.Tag.Get("env"), ","); name != "" {
			if f.Name == field {
				return name
			}
		} else if f.Type.Kind() == reflect.Struct {
			if name := variable(f.Type, field); name != "" {
				return name
			}
		}
	}
	return ""
}

// groups calls visit for each struct within v that checks itself.
func groups(v reflect.Value, visit func(checker)) {
	if c, ok := v.Addr().Interface().(checker); ok {
		visit(c)
	}
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Struct && v.Type().Field(i).IsExported() {
			groups(f, visit)
		}
	}
}

// Secret is a setting that never shows in a log, an error or a formatted struct.
type Secret string

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "******"
}

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the secret as it is.
func (s *Secret) UnmarshalText(b []byte) error {
	*s = Secret(b)
	return nil
}

// Log says what is logged and how.
type Log struct {
	Level  slog.Level `env:"LOG_LEVEL" envDefault:"info" help:"debug, info, warn or error"`
	Format string     `env:"LOG_FORMAT" help:"json or text; text on a terminal, else json"`
}

func (l *Log) check() []error {
	switch l.Format {
	case "json", "text":
	case "":
		l.Format = "json"
		if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			l.Format = "text"
		}
	default:
		return []error{fmt.Errorf("LOG_FORMAT is %q: json or text", l.Format)}
	}
	return nil
}

// Logger returns a logger that writes to w.
func (l *Log) Logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: l.Level}
	if l.Format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// Currency is the one currency of a deployment.
type Currency struct {
	Code string `env:"CURRENCY" envDefault:"EUR" help:"ISO 4217 code of every price"`
}

func (c *Currency) check() []error {
	if len(c.Code) != 3 || strings.Trim(c.Code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return []error{fmt.Errorf("CURRENCY is %q: three capital letters, as in EUR", c.Code)}
	}
	return nil
}
