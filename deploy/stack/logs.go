package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// tailSize is how much of each log is printed at first.
const tailSize = 16 << 10

// logs prints the end of each log, a line at a time after its process's name, and then, with follow, what comes until
// ctx ends, which is no error.
func (s *stack) logs(ctx context.Context, follow bool) error {
	var tails []*tail
	for _, name := range []string{apiProcess, consumersProcess, enginesProcess} {
		t, err := s.tail(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		defer func() { _ = t.file.Close() }()
		tails = append(tails, t)
	}
	if len(tails) == 0 {
		return errors.New("there are no logs yet: task up starts it")
	}
	for {
		for _, t := range tails {
			if err := t.print(s.out); err != nil {
				return err
			}
		}
		if !follow || pause(ctx, 200*time.Millisecond) != nil {
			return nil
		}
	}
}

// tail reads whole lines of one log.
type tail struct {
	name    string
	file    *os.File
	lines   *bufio.Reader
	partial strings.Builder // a line that is still being written
}

func (s *stack) tail(name string) (*tail, error) {
	f, err := os.Open(s.logFile(name))
	if err != nil {
		return nil, fmt.Errorf("read the log of %s: %w", name, err)
	}
	t := &tail{name: name, file: f, lines: bufio.NewReader(f)}
	if size, err := f.Seek(0, io.SeekEnd); err == nil && size > tailSize {
		_, _ = f.Seek(size-tailSize, io.SeekStart)
		_, _ = t.lines.ReadString('\n') // the rest of a line
	} else {
		_, _ = f.Seek(0, io.SeekStart)
	}
	return t, nil
}

// print writes the lines that are complete by now.
func (t *tail) print(out io.Writer) error {
	for {
		line, err := t.lines.ReadString('\n')
		t.partial.WriteString(line)
		if errors.Is(err, io.EOF) {
			return t.renew()
		}
		if err != nil {
			return fmt.Errorf("read the log of %s: %w", t.name, err)
		}
		if _, err := fmt.Fprintf(out, "%-9s | %s", t.name, t.partial.String()); err != nil {
			return err
		}
		t.partial.Reset()
	}
}

// renew goes on with the new log of a process that was started again meanwhile.
func (t *tail) renew() error {
	now, err := os.Stat(t.file.Name())
	if err != nil {
		return nil // between the old log and the new one
	}
	if was, err := t.file.Stat(); err != nil || os.SameFile(was, now) {
		return err
	}
	f, err := os.Open(t.file.Name())
	if err != nil {
		return fmt.Errorf("read the log of %s: %w", t.name, err)
	}
	_ = t.file.Close()
	t.file = f
	t.lines.Reset(f)
	t.partial.Reset()
	return nil
}
