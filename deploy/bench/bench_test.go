package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestAWrongCallIsSaidInOneSentence(t *testing.T) {
	for claim, c := range map[string]struct {
		args []string
		want string
	}{
		"an unknown benchmark": {[]string{"remove-item"}, `there is no benchmark "remove-item", only ` + strings.Join(names(), ", ")},
		"an unknown flag":      {[]string{"-fast"}, "-fast"},
		"no round":             {[]string{"-rounds", "0"}, "at least one round"},
		"no time":              {[]string{"-seconds", "0"}, "at least one round"},
		"no cart":              {[]string{"-carts", "0"}, "at least one cart"},
		"no scale":             {[]string{"-scale", "0"}, "the scale is above 0"},
		"more than all":        {[]string{"-scale", "2"}, "1 at most"},
	} {
		t.Run(claim, func(t *testing.T) {
			err := run(t.Context(), c.args, io.Discard, io.Discard)
			if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"-h"}, io.Discard, &help); !errors.Is(err, flag.ErrHelp) || !strings.Contains(help.String(), "ack-to-socket") {
		t.Errorf("-h: %v: %s", err, &help)
	}
}

func TestFiguresAreMinMedianAndMax(t *testing.T) {
	for claim, c := range map[string]struct {
		s      samples
		digits int
		want   string
	}{
		"one":         {samples{2}, 0, "2 · 2 · 2"},
		"odd":         {samples{3, 1, 2}, 1, "1.0 · 2.0 · 3.0"},
		"even":        {samples{4, 1, 2, 3}, 1, "1.0 · 2.5 · 4.0"},
		"no figure":   {nil, 1, "-"},
		"by rounds":   {samples{2, 9}.over(samples{1, 3}), 1, "2.0 · 2.5 · 3.0"},
		"no divisors": {samples{2, 9}.over(samples{0, 3}), 1, "3.0 · 3.0 · 3.0"},
	} {
		t.Run(claim, func(t *testing.T) {
			if got := c.s.show(c.digits); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestATableComparesRoundByRound(t *testing.T) {
	a, b := series{name: "  api"}, series{name: "  bare"}
	a.add(10, 1)
	a.add(30, 1)
	b.add(20, 0)
	b.add(20, 2)
	tab := table{columns: []column{{"requests/s", 0}, {"p50 ms", 1}}}
	tab.head("16 connections")
	tab.compare(a, b)
	tab.differ(a, b)
	var out bytes.Buffer
	if err := tab.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"10 · 20 · 30", "20 · 20 · 20", "api / bare", "0.50 · 1.00 · 1.50", "0.50 · 0.50 · 0.50",
		"api − bare", "-10 · 0 · 10", "-1.0 · 0.0 · 1.0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
}

func TestAClientTakesNothingBut200(t *testing.T) {
	for claim, c := range map[string]struct{ answer, tag, fault string }{
		"200 with a tag":      {"HTTP/1.1 200 OK\r\nEtag: \"3.17\"\r\nContent-Length: 2\r\n\r\n{}", `"3.17"`, ""},
		"200 without a tag":   {"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "", ""},
		"a problem":           {"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\noops", "", "503 Service Unavailable: oops"},
		"chunks":              {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", "no Content-Length"},
		"a length of nothing": {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "", `Content-Length "x"`},
		"nothing":             {"", "", "EOF"},
	} {
		t.Run(claim, func(t *testing.T) {
			cl, err := dial(t.Context(), answering(t, c.answer))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.conn.Close()
			tag, err := cl.add(caller{"u", []byte("POST / HTTP/1.1\r\n")}, "b", "k")
			if string(tag) != c.tag || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("got %q, %v", tag, err)
			}
		})
	}
}

// answering is the address of a server that answers the first thing that it reads, and hangs up.
func answering(t *testing.T, answer string) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = io.WriteString(conn, answer)
	}()
	return l.Addr().String()
}

func TestAChangeIsShownByTheFirstFrameThatReachesItsVersion(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	d := &device{answered: map[int64]time.Time{}}
	for version, ms := range map[string]int{`"1.2"`: 10, `"1.3"`: 20, `"1.4"`: 30, `"1.9"`: 40} {
		if err := d.answer([]byte(version), at(ms)); err != nil {
			t.Fatal(err)
		}
	}
	d.shown = []showing{{2, at(5)}, {4, at(50)}} // before its answer; then a snapshot of two
	if n, err := d.waiting(); n != 1 || err != nil {
		t.Errorf("%d are waiting, %v; want version 9", n, err)
	}
	var sum time.Duration
	all := d.take()
	for _, delay := range all {
		sum += delay
	}
	if len(all) != 3 || sum != 50*time.Millisecond {
		t.Errorf("got %v, want 0, 30 and 20 ms", all)
	}
	if err := d.answer([]byte(`W/"x"`), at(0)); !errors.Is(err, errAnswer) {
		t.Errorf("a tag that names no version: %v", err)
	}
}

func TestAFramesVersionIsFound(t *testing.T) {
	for frame, want := range map[string]int64{
		`{"type":"change","change":{"userId":"u","epoch":3,"version":17,"items":[]}}`: 17,
		`{"type":"snapshot","cart":{"userId":"u","epoch":3,"version":4,"items":[]}}`:  4,
		`{"type":"current","epoch":3,"version":9}`:                                    9,
		`{"type":"unknown"}`: 0,
	} {
		if got := version([]byte(frame)); got != want {
			t.Errorf("%s: got %d", frame, got)
		}
	}
}

func TestACallIsMadeForEachNumberNoMatterHowLate(t *testing.T) {
	seen := make(chan int, 100)
	took, err := pace(t.Context(), 4, 1000, 50, func(_ context.Context, _, i int) error { seen <- i; return nil })
	if err != nil || len(seen) != 50 || took < 49*time.Millisecond {
		t.Errorf("%d calls in %v: %v", len(seen), took, err)
	}
	failed := errors.New("failed")
	if _, err := pace(t.Context(), 4, 1000, 50, func(context.Context, int, int) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
}
