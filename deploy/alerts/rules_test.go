// Package alerts_test holds the alerting rules against what the processes tell, and lets faults fire them.
package alerts_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// rule is one alert.
type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t *testing.T) []rule {
	t.Helper()
	text, err := os.ReadFile("cartstream.rules.yml")
	must(t, err)
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	must(t, yaml.Unmarshal(text, &file))
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 10 {
		t.Fatalf("%d rules", len(all))
	}
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var duration = regexp.MustCompile(`^(\d+[smhd])?$`)

func TestEachAlertTellsWhatToDo(t *testing.T) {
	names := map[string]bool{}
	for _, r := range rules(t) {
		if names[r.Alert] {
			t.Errorf("two alerts are named %s", r.Alert)
		}
		names[r.Alert] = true
		if s := r.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || !duration.MatchString(r.For) {
			t.Errorf("%s: %+v", r.Alert, r)
		}
		path, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "#")
		book, err := os.ReadFile(filepath.Join("..", "..", path))
		if err != nil || !strings.HasPrefix(path, "deploy/runbooks/") {
			t.Errorf("%s: its runbook %q: %v", r.Alert, path, err)
		}
		if anchor != "" && !slices.Contains(anchors(string(book)), anchor) {
			t.Errorf("%s: %s has no heading #%s", r.Alert, path, anchor)
		}
	}
}

// anchors are the headings of a Markdown file as links name them.
func anchors(text string) (all []string) {
	for line := range strings.Lines(text) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			all = append(all, strings.ReplaceAll(strings.ToLower(strings.TrimSpace(title)), " ", "-"))
		}
	}
	return all
}

var grouped = regexp.MustCompile(`by \(([\w, ]+)\)`)

var link = regexp.MustCompile(`\]\(([^)#:]+)(?:#([a-z-]+))?\)`)

func TestTheRunbooksLinksLeadSomewhere(t *testing.T) {
	books, err := filepath.Glob("../runbooks/*.md")
	must(t, err)
	for _, path := range books {
		text, err := os.ReadFile(path)
		must(t, err)
		for _, l := range link.FindAllStringSubmatch(string(text), -1) {
			target, err := os.ReadFile(filepath.Join(filepath.Dir(path), l[1]))
			if err != nil || l[2] != "" && !slices.Contains(anchors(string(target)), l[2]) {
				t.Errorf("%s: %s leads nowhere: %v", path, l[0], err)
			}
		}
	}
}

// condition is an expression, in the few forms that the rules have, so that faults can be seen to fire them without
// Prometheus:
//
//	absent(metric)
//	max by (label) (metric{label="value"}) > number
//	sum(increase(metric[10m])) > number
type condition struct {
	absent, aggregate, over, metric string
	labels                          map[string]string
	minutes                         float64
	operator                        string
	than                            float64
}

var (
	form    = regexp.MustCompile(`^(?:absent\((\w+)\)|(max|min|sum)(?: by \([\w, ]+\) ?)?\((?:(increase|rate)\()?(\w+)(?:\{(.*)\})?(?:\[(\d+)([mh])\]\))?\) (>|==) ([\d.]+))$`)
	matcher = regexp.MustCompile(`(\w+)="([^"]*)"`)
)

func read(expr string) (c condition, err error) {
	m := form.FindStringSubmatch(expr)
	if m == nil || (m[3] == "") != (m[6] == "") {
		return c, fmt.Errorf("%q has a form that this test doesn't know", expr)
	}
	c = condition{absent: m[1], aggregate: m[2], over: m[3], metric: m[4], operator: m[8], labels: map[string]string{}}
	for _, l := range matcher.FindAllStringSubmatch(m[5], -1) {
		c.labels[l[1]] = l[2]
	}
	if c.absent != "" {
		c.metric = c.absent
		return c, nil
	}
	if m[6] != "" {
		if c.minutes, err = strconv.ParseFloat(m[6], 64); err != nil {
			return c, err
		}
		if m[7] == "h" {
			c.minutes *= 60
		}
	}
	c.than, err = strconv.ParseFloat(m[9], 64)
	return c, err
}

// series is one sample of a scrape.
type series struct {
	metric string
	labels map[string]string
	value  float64
}

var sample = regexp.MustCompile(`^(\w+)(?:\{(.*)\})? (\S+)`)

// parse reads the text format.
func parse(t *testing.T, text string) (all []series) {
	t.Helper()
	for line := range strings.Lines(text) {
		m := sample.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		s := series{metric: m[1], labels: map[string]string{}}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			s.labels[l[1]] = l[2]
		}
		var err error
		s.value, err = strconv.ParseFloat(m[3], 64)
		must(t, err)
		all = append(all, s)
	}
	return all
}

func (c condition) of(all []series) (values []float64) {
	for _, s := range all {
		fits := s.metric == c.metric
		for name, value := range c.labels {
			fits = fits && s.labels[name] == value
		}
		if fits {
			values = append(values, s.value)
		}
	}
	return values
}

// fires reports whether the condition holds now, where before is what was told when all was well. It leaves out how long it
// has to hold, and aggregates over all labels.
func (c condition) fires(before, now []series) bool {
	values := c.of(now)
	if c.absent != "" || len(values) == 0 {
		return c.absent != "" && len(values) == 0
	}
	var value float64
	switch c.aggregate {
	case "max":
		value = slices.Max(values)
	case "min":
		value = slices.Min(values)
	case "sum":
		value = total(values)
	}
	if c.over != "" {
		value -= total(c.of(before))
	}
	if c.over == "rate" {
		value /= c.minutes * 60
	}
	if c.operator == "==" {
		return value == c.than
	}
	return value > c.than
}

func total(values []float64) (sum float64) {
	for _, v := range values {
		sum += v
	}
	return sum
}

func TestAConditionIsReadAsPrometheusReadsIt(t *testing.T) {
	now := parse(t, `# HELP x
x{a="1"} 3
x{a="2",b="q"} 5
y_total 120
`)
	before := parse(t, "y_total 20\n")
	for expr, want := range map[string]bool{
		"max(x) > 4": true, "max(x) > 5": false, "min(x) == 3": true, `max(x{a="1"}) > 4`: false, "sum by (a) (x) > 7": true,
		"absent(x)": false, "absent(z)": true, "max(z) > 0": false, "min(z) == 0": false,
		"sum(increase(y_total[10m])) > 99": true, "sum(increase(y_total[10m])) > 100": false, "sum(rate(y_total[5m])) > 1": false,
	} {
		c, err := read(expr)
		must(t, err)
		if got := c.fires(before, now); got != want {
			t.Errorf("%s: %v", expr, got)
		}
	}
	for _, expr := range []string{"x > 1", "max(x)", "rate(x[5m]) > 1", "max(x[5m]) > 1", "sum(increase(x)) > 1"} {
		if _, err := read(expr); err == nil {
			t.Errorf("%s was read", expr)
		}
	}
}
