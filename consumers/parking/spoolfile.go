package parking

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// open locks the directory and reads the file, where that wasn't done yet.
func (s *Spool) open() error {
	if s.file != nil {
		return nil
	}
	if s.locked == nil {
		f, err := os.OpenFile(filepath.Join(s.dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return fmt.Errorf("lock the spool: %w", err)
		}
		if err := lock(f); err != nil {
			return errors.Join(fmt.Errorf("lock the spool: %w", err), f.Close())
		}
		s.locked = f
	}
	file, err := os.OpenFile(filepath.Join(s.dir, spoolName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open the spool: %w", err)
	}
	s.file, s.size, s.frames, s.held = file, 0, nil, map[name]bool{}
	if err := errors.Join(s.scan(), syncDir(s.dir)); err != nil {
		return errors.Join(fmt.Errorf("read the spool: %w", err), s.reopen())
	}
	if len(s.frames) > 0 {
		s.log.Info("dead letters are held in the spool", "letters", len(s.held), "bytes", s.size)
	}
	return nil
}

// scan finds the frames. What is none is set aside and then taken out of the file, so that no later crash meets it again.
func (s *Spool) scan() error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	r := bufio.NewReaderSize(io.LimitReader(s.file, info.Size()), 1<<20)
	var bad []frame
	for {
		f, _, err := next(r, s.size)
		switch {
		case err == nil:
			s.add(f)
			s.size += f.size
			continue
		case errors.Is(err, errDamaged):
			bad = append(bad, f)
			s.size += f.size
			continue
		case errors.Is(err, errTorn):
			bad = append(bad, frame{at: s.size, size: info.Size() - s.size})
			s.size = info.Size()
		case !errors.Is(err, io.EOF):
			return err
		}
		break
	}
	if len(bad) == 0 {
		return nil
	}
	if err := s.setAside(bad); err != nil {
		return err
	}
	return s.compact()
}

// setAside copies what can't be read to a file of its own, for somebody to look at.
func (s *Spool) setAside(bad []frame) error {
	path := filepath.Join(s.dir, "damaged-"+time.Now().UTC().Format("20060102T150405.000000000"))
	var total int64
	err := s.copyTo(path, bad)
	for _, f := range bad {
		total += f.size
	}
	if err != nil {
		return fmt.Errorf("set aside what can't be read: %w", err)
	}
	s.log.Error("a part of the spool can't be read: a write that a crash cut short, or a disk that spoils", "file", path, "parts", len(bad), "bytes", total)
	return nil
}

// compact rewrites the file with the letters that it holds, and nothing else.
func (s *Spool) compact() error {
	var kept []frame
	var total int64
	for _, f := range s.frames {
		if s.held[f.name] {
			kept, total = append(kept, f), total+f.size
		}
	}
	if total == s.size {
		return nil
	}
	path := filepath.Join(s.dir, spoolName)
	if err := s.copyTo(path+".new", kept); err != nil {
		return fmt.Errorf("compact %s: %w", spoolName, err)
	}
	if err := errors.Join(os.Rename(path+".new", path), syncDir(s.dir)); err != nil {
		return errors.Join(fmt.Errorf("compact %s: %w", spoolName, err), s.reopen())
	}
	_ = s.file.Close()                               // it was only read, and is gone
	file, err := os.OpenFile(path, os.O_RDWR, 0o600) //nolint:gosec // the directory is the operator's choice
	if err != nil {
		s.file = nil
		return fmt.Errorf("compact %s: %w", spoolName, err)
	}
	s.file, s.size, s.frames = file, 0, kept
	for i := range kept {
		kept[i].at = s.size
		s.size += kept[i].size
	}
	return nil
}

// copyTo writes parts of the file to another, which survives a crash once it returns nil.
func (s *Spool) copyTo(path string, parts []frame) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // see above
	if err != nil {
		return err
	}
	for _, f := range parts {
		if _, err := io.Copy(out, io.NewSectionReader(s.file, f.at, f.size)); err != nil {
			return errors.Join(err, out.Close(), os.Remove(path))
		}
	}
	return errors.Join(out.Sync(), out.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the directory is the operator's choice
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
