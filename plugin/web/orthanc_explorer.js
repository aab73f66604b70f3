// SPDX-License-Identifier: AGPL-3.0-or-later
// What dicom-router adds to Orthanc Explorer, the classic one: on a study's page its deliveries, "Resend" and
// "Route to…"; on the front page a link. Orthanc appends this file to its own script (ExtendOrthancExplorer), so it runs
// beside jQuery 1.7 and jQuery Mobile 1.1. Values are only ever set as text: they come from modalities.

(function ($) {
  'use strict';

  const ROUTER = '../router'; // the page is /app/explorer.html, behind a proxy maybe below a prefix
  const SHOWN = 20;
  const REFRESH_MILLISECONDS = 3000;
  const ENDED = ['Completed', 'Warning', 'Failed', 'Canceled'];
  const COLOURS = { Completed: '#17693a', Warning: '#855300', Retrying: '#855300', Failed: '#b3261e' };

  let timer = null;
  let shownStudy = '';
  let shownText = '';

  // Asking the router

  function ask(method, path, body) {
    const settings = { url: ROUTER + path, type: method, dataType: 'json' };
    if (method !== 'GET') {
      settings.contentType = 'application/json';
      settings.data = JSON.stringify(body || {});
    }
    return $.ajax(settings);
  }

  function reasonOf(failed) {
    try {
      return JSON.parse(failed.responseText).Error; // Orthanc calls the body of an error text
    } catch (notJson) {
      return failed.status ? 'The router answered ' + failed.status + '.' : 'Orthanc does not answer.';
    }
  }

  // The study's page

  function studyOfPage() {
    const data = $.mobile.pageData || {};
    return $.mobile.activePage && $.mobile.activePage.attr('id') === 'study' ? data.uuid || '' : '';
  }

  function panel() {
    const there = $('#router-panel');
    if (there.length) {
      return there;
    }
    const table = $('<table>', { 'aria-label': 'Deliveries of the router' })
      .css({ width: '100%', 'border-collapse': 'collapse' })
      .append($('<tbody>', { id: 'router-deliveries' }));
    const made = $('<div>', { id: 'router-panel' })
      .css('margin-bottom', '1.5em')
      .append($('<div>', { 'class': 'ui-bar ui-bar-c ui-corner-top', role: 'heading', 'aria-level': 2 }).text('Deliveries'))
      .append(
        $('<div>', { 'class': 'ui-body ui-body-d ui-corner-bottom' })
          .append(table)
          .append($('<p>', { id: 'router-none' }).text('The router has sent nothing of this study yet.').hide())
          .append($('<div>', { id: 'router-actions' }))
          .append($('<div>', { id: 'router-choice' }).hide())
          .append($('<p>', { id: 'router-message', role: 'status' }).css({ 'min-height': '1.4em', margin: '0.4em 0 0' }))
      );
    made
      .find('#router-actions')
      .append(button('Route to…', 'forward', chooseDestination).attr({ id: 'router-route', 'aria-expanded': 'false' }))
      .append(' ')
      .append(link('Why was it sent, or not?', '').attr('id', 'router-why'));
    const series = $('#list-series').parent();
    return made.prependTo(series.length ? series : $('#study [data-role="content"]').first());
  }

  function say(text) {
    $('#router-message').text(text);
  }

  function button(text, icon, onClick) {
    return $('<a>', { href: '#', role: 'button' })
      .text(text)
      .click(function (event) {
        event.preventDefault();
        onClick();
      })
      .buttonMarkup({ inline: true, mini: true, icon: icon, theme: 'c' });
  }

  function link(text, address) {
    return $('<a>', { href: address, rel: 'external', 'data-ajax': 'false' }).text(text);
  }

  function local(time) {
    return time ? $('<time>', { datetime: time, title: time }).text(new Date(time).toLocaleString()) : $('<span>');
  }

  function cell() {
    return $('<td>').css({ padding: '0.35em 0.8em 0.35em 0', 'vertical-align': 'middle', 'border-bottom': '1px solid #ddd' });
  }

  function deliveryRow(delivery) {
    const why = (delivery.LastError && delivery.LastError.Message) || delivery.Reason;
    const status = $('<strong>', { 'class': 'router-status' }).text(delivery.Status);
    status.css('color', COLOURS[delivery.Status] || '#444');
    const told = cell().css('width', '45%').append(status);
    if (why) {
      told.append($('<div>').css('font-size', '85%').text(why));
    }
    const again = cell().css('text-align', 'right');
    if (ENDED.indexOf(delivery.Status) >= 0) {
      again.append(
        button('Resend', 'refresh', function () {
          change('/history/' + delivery.ID + '/resend', {}, 'It is being sent to ' + delivery.Destination + ' again.');
        }).attr('aria-label', 'Resend to ' + delivery.Destination)
      );
    }
    return $('<tr>')
      .attr('data-router-delivery', delivery.ID)
      .append(cell().append(link(delivery.Destination, ROUTER + '/ui/#/deliveries/' + delivery.ID)))
      .append(told)
      .append(cell().append(local(delivery.CompletedAt || delivery.CreatedAt)))
      .append(again);
  }

  function draw(deliveries) {
    const list = panel().find('#router-deliveries').empty();
    deliveries.forEach(function (delivery) {
      list.append(deliveryRow(delivery));
    });
    $('#router-none').toggle(!deliveries.length);
    $('#router-why').attr('href', ROUTER + '/ui/#/studies/' + encodeURIComponent(shownStudy));
  }

  function change(path, body, done) {
    const study = shownStudy;
    say('…');
    ask('POST', path, body)
      .done(function () {
        say(done);
        if (study === studyOfPage()) {
          refresh();
        }
      })
      .fail(function (failed) {
        say(reasonOf(failed));
      });
  }

  function chooseDestination() {
    const choice = $('#router-choice');
    if (choice.is(':visible')) {
      closeChoice();
      return;
    }
    ask('GET', '/destinations')
      .done(function (destinations) {
        choice.empty().show();
        $('#router-route').attr('aria-expanded', 'true');
        destinations.forEach(function (destination) {
          choice.append(
            button(destination.Name, 'forward', function () {
              closeChoice();
              change(
                '/studies/' + encodeURIComponent(shownStudy) + '/route',
                { Destinations: [destination.Name] },
                'It is being sent to ' + destination.Name + '.'
              );
            })
          );
        });
        if (!destinations.length) {
          say('The router knows no destination.');
        }
        choice.find('a').first().focus();
      })
      .fail(function (failed) {
        say(reasonOf(failed));
      });
  }

  function closeChoice() {
    $('#router-choice').hide().empty();
    $('#router-route').attr('aria-expanded', 'false').focus();
  }

  // Looking again, as long as the page shows

  function refresh() {
    clearTimeout(timer);
    const study = studyOfPage();
    if (!study) {
      return;
    }
    ask('GET', '/history?study=' + encodeURIComponent(study) + '&limit=' + SHOWN)
      .done(function (page) {
        const text = study + JSON.stringify(page.Items);
        if (study === studyOfPage() && (text !== shownText || !$('#router-panel').length)) {
          shownText = text;
          draw(page.Items);
        }
      })
      .fail(function (failed) {
        panel();
        say(reasonOf(failed));
      })
      .always(function () {
        clearTimeout(timer);
        timer = setTimeout(refresh, REFRESH_MILLISECONDS);
      });
  }

  function show() {
    const study = studyOfPage();
    if (study && study !== shownStudy) {
      shownStudy = study;
      shownText = '';
      panel().find('#router-deliveries, #router-choice').empty();
      $('#router-none, #router-choice').hide();
      say('');
    }
    refresh();
  }

  $(document).delegate('#study', 'pageshow', show);
  // From one study's page to another one there is no pageshow.
  $(window).bind('hashchange', function () {
    setTimeout(show, 0);
  });

  // The front page

  $(document).delegate('#lookup', 'pagebeforecreate', function () {
    $('<a>', { id: 'router-link', href: ROUTER + '/ui/', rel: 'external', 'data-ajax': 'false' })
      .attr({ 'data-role': 'button', 'data-icon': 'forward' })
      .text('Routing: deliveries, destinations, rules')
      .insertAfter('#lookup-form');
  });
})(jQuery);
