package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"cartstream/schemas"
)

// Each consumers process has a SPOOL_DIR on a file system of its own, so small that it can be filled at once.
const spoolSize = "size=64k"

// newSpool makes the file system. Only root may.
func (s *stack) newSpool(ctx context.Context, name string) (string, error) {
	dir := filepath.Join(s.dir, "spool-"+name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, "mount", "-t", "tmpfs", "-o", spoolSize, "tmpfs", dir).CombinedOutput(); err != nil { //nolint:gosec // a directory of ours
		return "", fmt.Errorf("mount a small file system: %w: %s", err, out)
	}
	s.spools = append(s.spools, dir)
	return dir, nil
}

const filler = "filler"

// fill leaves no room in the directory.
func fill(dir string) error {
	f, err := os.Create(filepath.Join(dir, filler)) //nolint:gosec // a directory of ours
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // what counts is that it is full
	for err == nil {
		_, err = f.Write(make([]byte, 1024))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("fill the disk: %w", err)
	}
	return nil
}

// noPlace bounds how long letters may take to find out that no place takes them, and then that one does.
const noPlace = 45 * time.Second

// fillSpools leaves letters no place: their topic takes nothing, MongoDB is cut off and the disk is full. Then there is room
// on the disk, where letters have to come to stand, and only then all else comes back.
func (st *strikes) fillSpools() fault {
	s, refused := st.stack, st.refuse(schemas.CartDLQ)
	do := func(ctx context.Context) error {
		if err := refused.do(ctx); err != nil {
			return err
		}
		s.toMongoDB.cut()
		var logs []int
		for i, dir := range s.spools {
			if err := fill(dir); err != nil {
				return err
			}
			logs = append(logs, len(s.consumers[i].logged()))
		}
		for range 3 {
			if err := st.plant(ctx); err != nil {
				return err
			}
		}
		if err := until(ctx, noPlace, func(context.Context) error {
			for i, p := range s.consumers {
				if bytes.Contains(p.logged()[logs[i]:], []byte(syscall.ENOSPC.Error())) {
					return nil
				}
			}
			return errors.New("no letter met the full disk")
		}); err != nil {
			return err
		}
		for _, dir := range s.spools {
			if err := os.Remove(filepath.Join(dir, filler)); err != nil {
				return err
			}
		}
		err := until(ctx, noPlace, func(context.Context) error {
			for _, dir := range s.spools {
				if held, err := os.Stat(filepath.Join(dir, "letters.spool")); err == nil && held.Size() > 0 {
					return nil
				}
			}
			return errors.New("no letter came to the disk")
		})
		if err != nil && ctx.Err() == nil {
			st.unhealed.add("%v within %v of there being room, where no other place takes any", err, noPlace)
		}
		return ctx.Err()
	}
	return fault{"no place for letters, and poison", "no topic, no MongoDB and no disk for letters, and there is poison", 0, do,
		func(ctx context.Context) error { return errors.Join(s.toMongoDB.mend(ctx), refused.undo(ctx)) }}
}
