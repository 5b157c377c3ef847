// Alerts. Each rule queries one metric (shared/observability/metric_names.py; a test compares the names), and its text
// says what to do. An alert closes automatically when its condition has ended.

import { resourceTags } from '../types.bicep'

param location string
param tags resourceTags

@description('Resource id of the workspace with the metrics.')
param workspaceId string

@description('Prefix of the rules\' names.')
param prefix string

@description('E-mail addresses that receive alerts. Empty: the portal shows them only.')
param emails string[] = []

@description('Seconds for which a mailbox may fail without an alert.')
param mailboxFailingSeconds int = 3600

@description('Seconds for which a stored message may wait to be routed.')
param mailWaitingSeconds int = 900

@description('Shortest remaining time of a subscription in seconds. It is renewed at half of its time.')
param subscriptionLeftSeconds int

@description('Longest response time to Graph in seconds. After 3, Graph counts a notification as failed. It delays or drops notifications to an address that is often late.')
param webhookSeconds int = 2

// The function sweep measures gauges every five minutes; the window has several measurements.
var window = 'PT30M'

var rules = [
  {
    name: 'mailbox-disabled'
    title: 'a mailbox is disabled'
    text: 'Its mail is not drained. mailroom status shows the reason. Correct the credentials or settings, then run: mailroom enable MAILBOX.'
    severity: 1
    by: ['mailbox']
    query: '''
AppMetrics
| where Name == "mailroom.mailbox.disabled"
| extend mailbox = tostring(Properties.mailbox)
| summarize arg_max(TimeGenerated, Max) by mailbox
| project TimeGenerated, mailbox, Value = Max
'''
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: 0
  }
  {
    name: 'mailbox-failing'
    title: 'a mailbox has been failing for too long'
    text: 'Its mail stays on the server and is drained when the mailbox works again. mailroom check MAILBOX shows the problem.'
    severity: 2
    by: ['mailbox']
    query: '''
AppMetrics
| where Name == "mailroom.mailbox.failing_seconds"
| extend mailbox = tostring(Properties.mailbox)
| summarize arg_max(TimeGenerated, Max) by mailbox
| project TimeGenerated, mailbox, Value = Max
'''
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: mailboxFailingSeconds
  }
  {
    name: 'poison-waiting'
    title: 'a poison queue has messages'
    text: 'These messages failed five tries. The app turns those in route-requests-poison into records under failed/. Inspect messages in other poison queues.'
    severity: 2
    by: ['queue']
    query: '''
AppMetrics
| where Name == "mailroom.poison.waiting"
| extend queue = tostring(Properties.queue)
| summarize arg_max(TimeGenerated, Max) by queue
| project TimeGenerated, queue, Value = Max
'''
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: 0
  }
  {
    name: 'message-failed'
    title: 'a message could not be routed'
    text: 'Its record under failed/ has the reason; its raw message is kept. Correct the problem, then run: mailroom replay RECORD.'
    severity: 1
    by: ['mailbox']
    query: '''
AppMetrics
| where Name == "mailroom.poisoned"
| extend mailbox = tostring(Properties.mailbox)
| summarize Value = sum(Sum), TimeGenerated = max(TimeGenerated) by mailbox
'''
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: 0
  }
  {
    name: 'mail-waiting'
    title: 'stored mail is not routed'
    text: 'The oldest stored message has waited too long. Invalid routes stop the routing of a mailbox: mailroom status shows them. Otherwise, check the failures of route_message.'
    severity: 2
    by: []
    query: '''
AppMetrics
| where Name == "mailroom.outbox.oldest_seconds"
| summarize arg_max(TimeGenerated, Max)
| project TimeGenerated, Value = Max
'''
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: mailWaitingSeconds
  }
  {
    name: 'subscription-ending'
    title: 'a Graph subscription is about to expire'
    text: 'Its renewal fails; mailroom status shows the reason. No mail is lost: after it expires, the timer still polls the mailbox.'
    severity: 3
    by: ['mailbox']
    query: '''
AppMetrics
| where Name == "mailroom.subscription.left_seconds"
| extend mailbox = tostring(Properties.mailbox)
| summarize arg_max(TimeGenerated, Min) by mailbox
| project TimeGenerated, mailbox, Value = Min
'''
    aggregation: 'Minimum'
    operator: 'LessThan'
    threshold: subscriptionLeftSeconds
  }
  {
    name: 'webhook-slow'
    title: 'responses to Graph are slow'
    text: 'Graph requires a response within 3 seconds. Check that one HTTP instance is always ready (alwaysReadyHttp), and that the instances have enough memory and CPU.'
    severity: 3
    by: []
    query: '''
AppMetrics
| where Name == "mailroom.webhook.seconds"
| project TimeGenerated, Value = Max
'''
    aggregation: 'Maximum'
    operator: 'GreaterThan'
    threshold: webhookSeconds
  }
  {
    // If the app does not run, all other rules stay silent.
    name: 'app-silent'
    title: 'the app sends no metrics'
    text: 'No metric has arrived for half an hour: the app is stopped, does not start (configuration error), or has no right to send telemetry. Its log stream has details.'
    severity: 1
    by: []
    // The workspace has no such table before the first metric, and a query that fails raises no alert.
    query: '''
union isfuzzy=true (datatable(TimeGenerated: datetime, Name: string)[]), AppMetrics
| where Name == "mailroom.outbox.oldest_seconds"
'''
    aggregation: 'Count'
    operator: 'LessThan'
    threshold: 1
  }
]

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(emails)) {
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
  }
}

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
      evaluationFrequency: 'PT5M'
      windowSize: window
      scopes: [
        workspaceId
      ]
      autoMitigate: true
      // A new workspace has no table AppMetrics before the first metric: with the check, the first deployment would fail.
      skipQueryValidation: true
      criteria: {
        allOf: [
          union(
            {
              query: rule.query
              timeAggregation: rule.aggregation
              operator: rule.operator
              threshold: rule.threshold
              dimensions: map(rule.by, column => {
                name: column
                operator: 'Include'
                values: ['*']
              })
              failingPeriods: {
                numberOfEvaluationPeriods: 1
                minFailingPeriodsToAlert: 1
              }
            },
            rule.aggregation == 'Count'
              ? {}
              : {
                  metricMeasureColumn: 'Value'
                }
          )
        ]
      }
      actions: {
        actionGroups: empty(emails)
          ? []
          : [
              people.id
            ]
      }
    }
  }
]
