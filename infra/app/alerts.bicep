// Alerts. Each rule runs a query of ../queries/alerts (tests compare the metrics and attributes with the code), and its
// text says what to do. An alert writes again while its condition lasts: after an hour or after six.

@description('How often a rule runs, and for how long it stays quiet after it has written.')
type Rule = {
  name: string
  title: string
  text: string
  severity: 1 | 2 | 3
  query: string

  @description('Column that distinguishes alerts; null: the rule has one alert.')
  by: 'Mailbox' | 'Queue' | null

  aggregation: 'Maximum' | 'Minimum'
  operator: 'GreaterThan' | 'LessThan'
  threshold: int
  every: 'PT5M' | 'PT15M'
  window: 'PT30M' | 'P1D'

  @description('Range of the query where it is longer than the window.')
  range: 'P2D' | null

  quietFor: 'PT1H' | 'PT6H' | 'P1D'
}

import { resourceTags } from '../types.bicep'

param location string
param tags resourceTags

@description('Resource id of the workspace with the metrics.')
param workspaceId string

@description('Prefix of the rules\' names.')
param prefix string

@description('E-mail addresses that receive alerts. Without addresses and webhooks, the portal shows alerts only.')
param emails string[] = []

@description('Addresses to which alerts are posted in the common alert schema, by name.')
param webhooks { *: string } = {}

@description('Seconds for which a mailbox may fail without an alert.')
param mailboxFailingSeconds int = 3600

@description('Seconds for which a stored message may wait to be routed.')
param mailWaitingSeconds int = 900

@description('Messages of a mailbox that may match no route in a day without an alert.')
param unhandledMessages int = 10

@description('Shortest remaining time of a subscription in seconds. It is renewed at half of its time.')
param subscriptionLeftSeconds int

@description('Longest response time to Graph in seconds. After 3, Graph counts a notification as failed. It delays or drops notifications to an address that is often late.')
param webhookSeconds int = 2

var metrics = loadTextContent('../queries/metrics.kql')

// The function sweep measures gauges every five minutes: a window of 30 minutes has several measurements.
var rules Rule[] = [
  {
    name: 'mailbox-disabled'
    title: 'a mailbox is disabled'
    text: 'Its mail is not drained. mailroom status shows the reason. Correct the credentials or settings, then run: mailroom enable MAILBOX.'
    severity: 1
    query: loadTextContent('../queries/alerts/mailbox-disabled.kql')
    by: 'Mailbox'
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: 0
    every: 'PT5M'
    window: 'PT30M'
    range: null
    quietFor: 'PT6H'
  }
  {
    name: 'mailbox-failing'
    title: 'a mailbox has been failing for too long'
    text: 'Its mail stays on the server and is drained when the mailbox works again. mailroom check MAILBOX shows the problem.'
    severity: 2
    query: loadTextContent('../queries/alerts/mailbox-failing.kql')
    by: 'Mailbox'
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: mailboxFailingSeconds
    every: 'PT15M'
    window: 'PT30M'
    range: null
    quietFor: 'PT6H'
  }
  {
    name: 'poison-waiting'
    title: 'a poison queue has messages'
    text: 'These messages failed five tries. The app turns those in route-requests-poison into records under failed/. Inspect messages in other poison queues.'
    severity: 2
    query: loadTextContent('../queries/alerts/poison-waiting.kql')
    by: 'Queue'
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: 0
    every: 'PT15M'
    window: 'PT30M'
    range: null
    quietFor: 'PT6H'
  }
  {
    name: 'message-failed'
    title: 'a message could not be routed'
    text: 'Its record under failed/ has the reason; its raw message is kept. Correct the problem, then run: mailroom replay RECORD.'
    severity: 1
    query: loadTextContent('../queries/alerts/message-failed.kql')
    by: 'Mailbox'
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: 0
    every: 'PT5M'
    window: 'PT30M'
    range: null
    quietFor: 'PT1H'
  }
  {
    name: 'mail-waiting'
    title: 'stored mail is not routed'
    text: 'The oldest stored message has waited too long. Invalid routes stop the routing of a mailbox: mailroom status shows them. Otherwise, check the failures of route_message.'
    severity: 2
    query: loadTextContent('../queries/alerts/mail-waiting.kql')
    by: null
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: mailWaitingSeconds
    every: 'PT15M'
    window: 'PT30M'
    range: null
    quietFor: 'PT1H'
  }
  {
    name: 'mail-unhandled'
    title: 'much mail matches no route'
    text: 'More messages of a day matched no route than usual. mailroom find --outcome unhandled lists them, mailroom explain ID shows the reasons. Correct the routes, then run: mailroom replay --kind unhandled.'
    severity: 2
    query: loadTextContent('../queries/alerts/mail-unhandled.kql')
    by: 'Mailbox'
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: unhandledMessages
    every: 'PT15M'
    window: 'P1D'
    range: null
    quietFor: 'PT6H'
  }
  {
    name: 'unhandled-old'
    title: 'unhandled mail is older than a day'
    text: 'Messages that matched no route have waited for a day. mailroom find --outcome unhandled lists them. Replay them, or erase them with mailroom forget.'
    severity: 3
    query: loadTextContent('../queries/alerts/unhandled-old.kql')
    by: 'Mailbox'
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: 0
    every: 'PT15M'
    window: 'P1D'
    range: 'P2D'
    quietFor: 'P1D'
  }
  {
    name: 'subscription-ending'
    title: 'a Graph subscription is about to expire'
    text: 'Its renewal fails; mailroom status shows the reason. No mail is lost: after it expires, the timer still polls the mailbox.'
    severity: 3
    query: loadTextContent('../queries/alerts/subscription-ending.kql')
    by: 'Mailbox'
    aggregation: 'Minimum'
    operator: 'LessThan'
    threshold: subscriptionLeftSeconds
    every: 'PT15M'
    window: 'PT30M'
    range: null
    quietFor: 'PT6H'
  }
  {
    name: 'webhook-slow'
    title: 'responses to Graph are slow'
    text: 'Graph requires a response within 3 seconds. Check that one HTTP instance is always ready (alwaysReadyHttp), and that the instances have enough memory and CPU.'
    severity: 3
    query: loadTextContent('../queries/alerts/webhook-slow.kql')
    by: null
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: webhookSeconds
    every: 'PT15M'
    window: 'PT30M'
    range: null
    quietFor: 'PT6H'
  }
  {
    name: 'app-silent'
    title: 'the app sends no metrics'
    text: 'No metric has arrived for half an hour: the app is stopped, does not start (configuration error), has no right to send telemetry, or the daily cap of the workspace is reached.'
    severity: 1
    query: loadTextContent('../queries/alerts/app-silent.kql')
    by: null
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: 0
    every: 'PT15M'
    window: 'PT30M'
    range: 'P2D'
    quietFor: 'PT6H'
  }
]

var hasReceivers = !empty(emails) || !empty(webhooks)

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (hasReceivers) {
  name: '${prefix}-people'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'mailroom'
    enabled: true
    emailReceivers: [
      for (email, number) in emails: {
        name: 'person-${number}'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
    webhookReceivers: [
      for webhook in items(webhooks): {
        name: webhook.key
        serviceUri: webhook.value
        useCommonAlertSchema: true
      }
    ]
  }
}

var actionGroup = hasReceivers ? people.?id ?? '' : ''

resource alerts 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for rule in rules: {
    name: '${prefix}-${rule.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: 'Mailroom: ${rule.title}'
      description: rule.text
      severity: rule.severity
      enabled: true
      evaluationFrequency: rule.every
      windowSize: rule.window
      overrideQueryTimeRange: rule.?range
      scopes: [
        workspaceId
      ]
      // An alert that closes by itself writes once only. Without it, the rule writes again after the quiet time.
      autoMitigate: false
      muteActionsDuration: rule.quietFor
      // A new workspace has no table AppMetrics before the first metric: with the check, the first deployment would fail.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: '${metrics}\n${rule.query}'
            timeAggregation: rule.aggregation
            metricMeasureColumn: 'Value'
            operator: rule.operator
            threshold: rule.threshold
            dimensions: rule.?by == null
              ? []
              : [
                  {
                    name: rule.by!
                    operator: 'Include'
                    values: ['*']
                  }
                ]
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: empty(actionGroup) ? [] : [actionGroup]
      }
    }
  }
]

@description('Resource id of the action group; empty: no addresses and no webhooks are set.')
output actionGroupId string = actionGroup
