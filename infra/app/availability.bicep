// An availability test: Azure posts a validation token to the notification function, as Microsoft Graph does. It also
// finds an app that has never started, which sends no metrics and so raises no other alert.

import { resourceTags } from '../types.bicep'

param location string
param tags resourceTags

@description('Prefix of the names.')
param prefix string

@description('Resource id of Application Insights.')
param insightsId string

@description('Public address of the function graph_webhook.')
param webhookUrl string

@description('Resource id of the action group; empty: the portal shows the alert only.')
param actionGroupId string

@description('Ids of the places from which Azure tests.')
param places string[] = [
  'emea-nl-ams-azr'
  'us-va-ash-azr'
  'apac-sg-sin-azr'
]

var token = 'mailroom-availability'

resource test 'Microsoft.Insights/webtests@2022-06-15' = {
  name: '${prefix}-availability'
  location: location
  tags: union(tags, {
    // Azure shows the test with the resource that this tag names.
    'hidden-link:${insightsId}': 'Resource'
  })
  kind: 'standard'
  properties: {
    SyntheticMonitorId: '${prefix}-availability'
    Name: 'Mailroom answers Microsoft Graph'
    Enabled: true
    Frequency: 900
    Timeout: 30
    Kind: 'standard'
    RetryEnabled: true
    Locations: [for place in places: { Id: place }]
    Request: {
      RequestUrl: '${webhookUrl}?validationToken=${token}'
      HttpVerb: 'POST'
      ParseDependentRequests: false
      FollowRedirects: false
    }
    ValidationRules: {
      ExpectedHttpStatusCode: 200
      ContentValidation: {
        ContentMatch: token
        PassIfTextFound: true
      }
      SSLCheck: true
      SSLCertRemainingLifetimeCheck: 7
    }
  }
}

resource alert 'Microsoft.Insights/metricAlerts@2026-01-01' = {
  name: '${prefix}-unreachable'
  location: 'global'
  tags: tags
  properties: {
    description: 'The notification function does not answer. Without it, Graph notifications are lost and the timer alone polls. Check that the app runs: az functionapp show.'
    severity: 2
    enabled: true
    evaluationFrequency: 'PT15M'
    windowSize: 'PT30M'
    // An alert that closes by itself writes once only. Without it, the rule writes again while the test fails.
    autoMitigate: false
    scopes: [
      test.id
      insightsId
    ]
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria'
      webTestId: test.id
      componentId: insightsId
      failedLocationCount: 2
    }
    actions: empty(actionGroupId)
      ? []
      : [
          {
            actionGroupId: actionGroupId
          }
        ]
  }
}
