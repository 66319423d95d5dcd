package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// catalogueFile holds the sample catalogue: a JSON array of the bodies of POST /v1/books.
var catalogueFile = filepath.Join("deploy", "stack", "books.json")

// seed loads the sample catalogue into the stack that the environment names, else the one that is up. Books that
// are there already stay as they are, so it may run again, also after it was interrupted.
func (s *stack) seed(ctx context.Context) error {
	env, err := s.client()
	if err != nil {
		return err
	}
	added, there, err := s.load(ctx, env)
	if err != nil {
		return err
	}
	s.say("%d books added, %d were there already.", added, there)
	return nil
}

// fill loads the sample catalogue where the catalogue has no book at all.
func (s *stack) fill(ctx context.Context, r running) error {
	if r.Env["JWT_SECRET"] == "" {
		s.say("the catalogue is not looked at: JWT_SECRET is not set, so no admin's token can be made")
		return nil
	}
	first, err := firstBook(ctx, r.Env)
	if err != nil || first != "" {
		return err
	}
	added, _, err := s.load(ctx, r.Env)
	if err == nil {
		s.say("the catalogue was empty: %d sample books added", added)
	}
	return err
}

// firstBook returns the id of a book that can be added to a cart, "" where there is none.
func firstBook(ctx context.Context, env map[string]string) (string, error) {
	status, body, err := call(ctx, http.MethodGet, baseURL(env["HTTP_ADDR"])+"/v1/books?limit=1&status=available", "", nil)
	if err != nil {
		return "", err
	}
	var page struct {
		Items []struct {
			BookID string `json:"bookId"`
		} `json:"items"`
	}
	if status != http.StatusOK || json.Unmarshal(body, &page) != nil {
		return "", fmt.Errorf("list the catalogue: %s", answer(status, body))
	}
	if len(page.Items) == 0 {
		return "", nil
	}
	return page.Items[0].BookID, nil
}

// load creates all sample books, a few at a time.
func (s *stack) load(ctx context.Context, env map[string]string) (added, there int64, err error) {
	b, err := os.ReadFile(filepath.Join(s.root, catalogueFile)) //nolint:gosec // a file of the checkout
	if err != nil {
		return 0, 0, fmt.Errorf("read the sample catalogue: %w", err)
	}
	var books []json.RawMessage
	if err := json.Unmarshal(b, &books); err != nil {
		return 0, 0, fmt.Errorf("read the sample catalogue %s: %w", catalogueFile, err)
	}
	token, err := sign(env, "seed", "admin")
	if err != nil {
		return 0, 0, err
	}
	var created, existed atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, book := range books {
		g.Go(func() error {
			status, err := create(ctx, baseURL(env["HTTP_ADDR"])+"/v1/books", token, book)
			switch {
			case err != nil:
				return err
			case status == http.StatusConflict:
				existed.Add(1)
			default:
				created.Add(1)
			}
			return nil
		})
	}
	err = g.Wait()
	return created.Load(), existed.Load(), err
}

// create returns 201 or 409. While the API refuses for now (429, 503), it tries again for half a minute: a book
// that a lost answer hid is then a 409, which is as good.
func create(ctx context.Context, url, token string, book []byte) (int, error) {
	for deadline := time.Now().Add(30 * time.Second); ; {
		status, body, err := call(ctx, http.MethodPost, url, token, book)
		switch {
		case err != nil:
			return 0, err
		case status == http.StatusCreated, status == http.StatusConflict:
			return status, nil
		case status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable, time.Now().After(deadline):
			return 0, fmt.Errorf("add the book %s: %s", book, answer(status, body))
		}
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// call sends one request and reads its answer.
func call(ctx context.Context, method, url, token string, body []byte) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, notUp(err, url)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, frameLimit))
	return resp.StatusCode, answer, err
}

// notUp says what to do where nothing listens.
func notUp(err error, url string) error {
	if refused(err) {
		return fmt.Errorf("nothing listens at %s: task up starts it", url)
	}
	return err
}

// answer is what a problem says, for an error of one sentence.
func answer(status int, body []byte) string {
	var problem struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	text := strconv.Itoa(status) + " " + http.StatusText(status)
	if json.Unmarshal(body, &problem) == nil && problem.Title != "" {
		text = strconv.Itoa(status) + " " + problem.Title
		if problem.Detail != "" {
			text += ": " + problem.Detail
		}
	}
	return text
}
